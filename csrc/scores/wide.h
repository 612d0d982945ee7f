// INVAD_WIDE before a function with simple loops: compiled also for wider vectors, chosen when it
// is first called. Nothing that it calls is, unless it is inlined.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define INVAD_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define INVAD_WIDE
#endif

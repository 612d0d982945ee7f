// INVAD_WIDE before a function with simple loops: compiled also for wider vectors, chosen when it
// is first called. Nothing that it calls is, unless it is inlined. Sanitizers start too late for
// that choice.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define INVAD_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define INVAD_WIDE
#endif

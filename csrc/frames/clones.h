// INVAD_CLONES: a function compiled for AVX2 too, and chosen when the library loads.
#pragma once

#ifndef INVAD_CLONES  // sanitizers cannot start programs that have them
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define INVAD_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define INVAD_CLONES
#endif
#endif

// Runs a loop on torch's own thread pool, compiled for the best instruction set that the processor
// has: one binary for AVX-512, AVX2 and plain code.
//
//   parallel(rows, grain, [&](int64_t begin, int64_t end) { ... an ordinary loop ... });
//
// Everything that the loop calls is inlined into three functions of which each may use another
// instruction set, and GCC vectorises each for its own. (target_clones would take no templates;
// compiling files with -march would let the linker keep a wide copy of a shared inline function.)
// Write inner loops that a compiler can vectorise: __restrict pointers, no early exit, and
// `#pragma omp simd reduction(+ : sum)` over sums.
#pragma once

#include "../stable.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define INVAD_X86 1
#define INVAD_AVX512                                                                          \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi,bmi2," \
                        "prefer-vector-width=512"),                                           \
                 flatten, noinline))
#define INVAD_AVX2 __attribute__((target("avx2,fma,f16c,bmi,bmi2"), flatten, noinline))
#define INVAD_PLAIN __attribute__((flatten, noinline))
#else
#define INVAD_PLAIN
#endif

namespace invad {

enum class Capability { kPlain, kAvx2, kAvx512, kAvx512Bf16 };

// The processor's, or less where INVAD_FAST_CPU_CAPABILITY (default, avx2, avx512) says so;
// each has what those before it have.
Capability capability();

#ifdef INVAD_X86
template <typename F>
INVAD_AVX512 void run_avx512(const F& f, int64_t begin, int64_t end) {
  f(begin, end);
}
template <typename F>
INVAD_AVX2 void run_avx2(const F& f, int64_t begin, int64_t end) {
  f(begin, end);
}
#endif
template <typename F>
INVAD_PLAIN void run_plain(const F& f, int64_t begin, int64_t end) {
  f(begin, end);
}

// f(begin, end) over parts of 0 .. count; no thread is woken for fewer than `grain` of them.
// How the parts are cut depends on the number of threads: results must not.
template <typename F>
void parallel(int64_t count, int64_t grain, const F& f) {
  if (count <= 0) return;
  torch::stable::parallel_for(0, count, grain < 1 ? 1 : grain, [&](int64_t begin, int64_t end) {
#ifdef INVAD_X86
    if (capability() >= Capability::kAvx512) return run_avx512(f, begin, end);
    if (capability() >= Capability::kAvx2) return run_avx2(f, begin, end);
#endif
    run_plain(f, begin, end);
  });
}

// Elements of work under which a second thread costs more than it saves.
constexpr int64_t kGrainElements = 1 << 15;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace invad

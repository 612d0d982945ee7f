// Which instruction set the CPU ops use.
#include <cstdlib>
#include <cstring>

#include "parallel.h"

namespace invad {
namespace {

Capability of_processor() {
#ifdef INVAD_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512cd");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  if (bf16) return Capability::kAvx512Bf16;
  if (avx512) return Capability::kAvx512;
  if (avx2) return Capability::kAvx2;
#endif
  return Capability::kPlain;
}

Capability allowed() {
  const char* wanted = std::getenv("INVAD_FAST_CPU_CAPABILITY");
  if (wanted && !std::strcmp(wanted, "default")) return Capability::kPlain;
  if (wanted && !std::strcmp(wanted, "avx2")) return Capability::kAvx2;
  if (wanted && !std::strcmp(wanted, "avx512")) return Capability::kAvx512;
  return Capability::kAvx512Bf16;
}

}  // namespace

Capability capability() {
  static const Capability chosen = of_processor() < allowed() ? of_processor() : allowed();
  return chosen;
}

}  // namespace invad

// For `invad-fast doctor`, through ctypes.
extern "C" __attribute__((visibility("default"))) const char* invad_fast_cpu_capability() {
  switch (invad::capability()) {
    case invad::Capability::kAvx512Bf16:
      return "AVX-512 with BF16";
    case invad::Capability::kAvx512:
      return "AVX-512";
    case invad::Capability::kAvx2:
      return "AVX2";
    default:
      return "plain";
  }
}

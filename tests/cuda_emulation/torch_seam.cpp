#include "torch_seam.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

AOTITorchError cuda_emulation_get_current_stream(int32_t, void** stream) {
  *stream = nullptr;
  return 0;
}
AOTITorchError cuda_emulation_create_device_guard(int32_t, DeviceGuardHandle* guard) {
  *guard = nullptr;
  return 0;
}
AOTITorchError cuda_emulation_delete_device_guard(DeviceGuardHandle) { return 0; }

// The scheduler of the emulation. It runs a warp until all its lanes wait at the block's barrier or
// are done, then the next warp, and lets the block go on when all its warps wait: the order on a
// GPU is free, so results must not change when INVAD_CUDA_EMULATION_ORDER=reversed runs lanes,
// warps and blocks the other way round.
#include <link.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"

namespace invad {
alignas(16) thread_local unsigned char dynamic_shared[kEmulatedSharedBytes];
}

namespace cuda_emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr unsigned char kPoison = 0xff;  // NaN as a float of any width, -1 as an integer

enum class State { kRuns, kWaitsForWarp, kWaitsForBlock, kDone };

// Kept from block to block: it runs one thread after another.
struct Fiber {
  jmp_buf registers;
  char* stack = nullptr;
  bool started = false;
};

struct Thread {
  State state = State::kRuns;
  uint3 index{};
  const char* file = nullptr;
  int line = 0;
  unsigned mask = 0;  // the lanes that it waits for
  uint64_t sent = 0;  // its own value in the exchange
  Lanes received{};
  int predicate = 0, votes = 0;

  bool waits_with(const Thread& other) const {
    return state == other.state && file == other.file && line == other.line && mask == other.mask;
  }
  std::string where() const { return std::string(file ? file : "?") + ":" + std::to_string(line); }
};

std::vector<Thread> threads;  // of the block that runs
std::vector<Fiber> fibers;    // one for each of them, or more
size_t current = 0;
jmp_buf scheduler;
const std::function<void()>* body = nullptr;
std::string failure;  // of the code of a thread

bool reversed() {
  const char* order = std::getenv("INVAD_CUDA_EMULATION_ORDER");
  return order != nullptr && std::string(order) == "reversed";
}

// Fibers change with setjmp and longjmp: swapcontext would call the kernel each time.
void stop(State state) {
  threads[current].state = state;
  if (_setjmp(fibers[current].registers) == 0) _longjmp(scheduler, 1);
}

void run_threads() {
  while (true) {
    try {
      (*body)();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    stop(State::kDone);
  }
}

void resume(size_t index) {
  current = index;
  threadIdx = threads[index].index;
  Fiber& fiber = fibers[index];
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.registers, 1);
  fiber.started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, run_threads, 0);
  setcontext(&context);
}

void wait(State state, unsigned mask, const char* file, int line) {
  Thread& thread = threads[current];
  thread.mask = mask;
  thread.file = file;
  thread.line = line;
  stop(state);
}

[[noreturn]] void diverged(const std::string& what) {
  for (Fiber& fiber : fibers) fiber.started = false;  // what they were at is dropped
  throw std::runtime_error("CUDA emulation: block " + std::to_string(blockIdx.x) + ", " +
                           std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + ": " +
                           what);
}

// Lets one group of lanes that wait for each other go on; false where there is none.
bool release_lanes(size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    const Thread& leader = threads[i];
    if (leader.state != State::kWaitsForWarp) continue;
    if (last - first < 32 && leader.mask >> (last - first) != 0)
      diverged(leader.where() + ": the mask names lanes that the block does not have");
    bool all = true;
    Lanes lanes{};
    for (size_t k = first; k < last; ++k) {
      if (!(leader.mask >> (k - first) & 1)) continue;
      all = all && threads[k].waits_with(leader);
      lanes.value[k - first] = threads[k].sent;
    }
    if (!all) continue;
    const unsigned mask = leader.mask;
    for (size_t k = first; k < last; ++k)
      if (mask >> (k - first) & 1) {
        threads[k].received = lanes;
        threads[k].state = State::kRuns;
      }
    return true;
  }
  return false;
}

// Until its lanes are done or wait for the block.
void run_warp(size_t first, size_t last, bool backwards) {
  do {
    for (size_t i = 0; i < last - first; ++i) {
      const size_t index = backwards ? last - 1 - i : first + i;
      if (threads[index].state != State::kRuns) continue;
      resume(index);
      if (!failure.empty()) diverged(failure);
    }
  } while (release_lanes(first, last));
  for (size_t i = first; i < last; ++i)
    if (threads[i].state == State::kWaitsForWarp)
      diverged(threads[i].where() + ": lanes of the mask are elsewhere, or done");
}

// True where threads waited and may go on, false where all are done.
bool release_block() {
  const Thread* waiting = nullptr;
  bool done = false;
  int votes = 0;
  for (const Thread& thread : threads) {
    if (thread.state == State::kDone) {
      done = true;
      continue;
    }
    if (waiting == nullptr) waiting = &thread;
    if (!thread.waits_with(*waiting))
      diverged("some threads wait at " + waiting->where() + ", others at " + thread.where());
    votes += thread.predicate;
  }
  if (waiting == nullptr) return false;
  if (done) diverged("threads wait at " + waiting->where() + ", others have returned");
  for (Thread& thread : threads) {
    thread.votes = votes;
    thread.state = State::kRuns;
  }
  return true;
}

// The library's thread_local variables: all of __shared__.
struct SharedMemory {
  unsigned char* begin = nullptr;
  size_t bytes = 0;

  SharedMemory() {
    invad::dynamic_shared[0] = kPoison;  // the first use allocates them
    dl_iterate_phdr(
        [](dl_phdr_info* library, size_t, void* found) {
          bool this_one = false;
          for (int i = 0; i < library->dlpi_phnum; ++i) {
            const auto& part = library->dlpi_phdr[i];
            const uintptr_t from = library->dlpi_addr + part.p_vaddr;
            const uintptr_t here = reinterpret_cast<uintptr_t>(&threads);
            this_one |= part.p_type == PT_LOAD && here >= from && here < from + part.p_memsz;
          }
          for (int i = 0; this_one && i < library->dlpi_phnum; ++i)
            if (library->dlpi_phdr[i].p_type == PT_TLS)
              *static_cast<SharedMemory*>(found) = {
                  static_cast<unsigned char*>(library->dlpi_tls_data),
                  library->dlpi_phdr[i].p_memsz};
          return 0;
        },
        this);
    if (begin == nullptr) throw std::runtime_error("CUDA emulation: no shared memory found");
  }
  SharedMemory(unsigned char* begin, size_t bytes) : begin(begin), bytes(bytes) {}

  // Fills it with NaN; of the dynamic array only what a launch asked for and a margin.
  void poison(size_t dynamic) const {
    unsigned char* array = invad::dynamic_shared;
    std::memset(begin, kPoison, array - begin);
    unsigned char* after = array + invad::kEmulatedSharedBytes;
    std::memset(after, kPoison, begin + bytes - after);
    std::memset(array, kPoison, std::min(dynamic + kMargin, invad::kEmulatedSharedBytes));
  }
  // Whether the kernel kept to what it was launched with.
  bool margin_is_whole(size_t dynamic) const {
    const size_t end = std::min(dynamic + kMargin, invad::kEmulatedSharedBytes);
    for (size_t i = dynamic; i < end; ++i)
      if (invad::dynamic_shared[i] != kPoison) return false;
    return true;
  }
  static constexpr size_t kMargin = 1024;
};

void prepare_threads(dim3 block) {
  threads.assign(size_t{block.x} * block.y * block.z, Thread{});
  for (size_t i = 0; i < threads.size(); ++i)
    threads[i].index = {static_cast<unsigned>(i % block.x),
                        static_cast<unsigned>(i / block.x % block.y),
                        static_cast<unsigned>(i / block.x / block.y)};
  while (fibers.size() < threads.size()) {
    void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw std::runtime_error("CUDA emulation: no memory for a stack");
    fibers.emplace_back();
    fibers.back().stack = static_cast<char*>(stack);
  }
}

void run_block(bool backwards) {
  const size_t count = threads.size(), warps = (count + 31) / 32;
  do {
    for (size_t i = 0; i < warps; ++i) {
      const size_t first = 32 * (backwards ? warps - 1 - i : i);
      run_warp(first, std::min(first + 32, count), backwards);
    }
  } while (release_block());
}

int vote(int predicate, const char* file, int line) {
  threads[current].predicate = predicate;
  wait(State::kWaitsForBlock, 0, file, line);
  return threads[current].votes;
}

}  // namespace

unsigned lane() { return current % 32; }

void check_in_mask(unsigned mask, int lane, const char* file, int line) {
  if (!(mask >> lane & 1))
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) +
                             ": a shuffle reads a lane that is not in its mask");
}

const Lanes& exchange(unsigned mask, uint64_t sent, const char* file, int line) {
  check_in_mask(mask, lane(), file, line);
  threads[current].sent = sent;
  wait(State::kWaitsForWarp, mask, file, line);
  return threads[current].received;
}

void launch(const std::function<void()>& thread, dim3 grid, dim3 block, size_t shared) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  const size_t count = size_t{block.x} * block.y * block.z;
  if (count == 0 || count > 1024 || block.z > 64)
    throw std::runtime_error("CUDA emulation: a block must have 1 to 1024 threads");
  if (size_t{grid.x} * grid.y * grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 ||
      grid.z > 65535)
    throw std::runtime_error("CUDA emulation: a grid must have blocks, at most 65535 in y and z");
  if (shared > invad::kEmulatedSharedBytes)
    throw std::runtime_error("CUDA emulation: that much shared memory is not emulated");
  const SharedMemory memory;
  const bool backwards = reversed();
  body = &thread;
  blockDim = block;
  gridDim = grid;
  failure.clear();
  const size_t blocks = size_t{grid.x} * grid.y * grid.z;
  for (size_t i = 0; i < blocks; ++i) {
    const size_t at = backwards ? blocks - 1 - i : i;
    blockIdx = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                static_cast<unsigned>(at / grid.x / grid.y)};
    prepare_threads(block);
    memory.poison(shared);
    run_block(backwards);
    if (!memory.margin_is_whole(shared))
      diverged("wrote beyond the dynamic shared memory that it was launched with");
  }
}

}  // namespace cuda_emulation

void __syncthreads(const char* file, int line) { cuda_emulation::vote(0, file, line); }
int __syncthreads_count(int predicate, const char* file, int line) {
  return cuda_emulation::vote(predicate != 0, file, line);
}
int __syncthreads_and(int predicate, const char* file, int line) {
  return cuda_emulation::vote(predicate != 0, file, line) ==
         static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
}
int __syncthreads_or(int predicate, const char* file, int line) {
  return cuda_emulation::vote(predicate != 0, file, line) != 0;
}

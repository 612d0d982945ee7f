// Work shared among a few threads, without torch's pool: the metrics run where torch is not.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace invad::scores {

// Calls f(thread) for 0 .. threads - 1, each in a thread of its own; what one throws is thrown.
template <typename F>
void in_threads(int threads, const F& f) {
  if (threads <= 1) return f(0);
  std::vector<std::exception_ptr> failures(threads);
  const auto guarded = [&](int thread) {
    try {
      f(thread);
    } catch (...) {
      failures[thread] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(guarded, thread);
  guarded(0);
  for (std::thread& other : others) other.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

// Where a thread's even share of `count` things begins; it ends where the next one's begins.
inline int64_t share_begin(int64_t count, int threads, int thread) {
  return count * thread / threads;
}

}  // namespace invad::scores

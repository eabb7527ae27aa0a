// Shares the parts of a computation between the calling thread and threads of XLA's pool.
//
// The caller never waits for a helper to come, only for parts that one has taken: with every thread of the pool busy
// (or blocked by other programs) it does all the work alone, so that there is nothing to deadlock on.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace capibara {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits by spinning, since what is waited for is microseconds away; gives the core up if it is not.
class Spin {
 public:
  void once() {
    if (++turns_ < 2000) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }

 private:
  int turns_ = 0;
};

// Helpers from construction to destruction, over as many `run`s as there are. More of them than `kMost` would wait
// for memory, not for one another.
class Team {
 public:
  static constexpr int64_t kMost = 16;

  explicit Team(xla::ffi::ThreadPool& pool) : shared_(std::make_shared<Shared>()) {
    threads_ = std::clamp<int64_t>(pool.num_threads(), 1, kMost);
    for (int64_t helper = 1; helper < threads_; ++helper) {
      pool.Schedule([shared = shared_] { shared->help(); });
    }
  }
  ~Team() { shared_->ticket.store(kClosed, std::memory_order_release); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int64_t threads() const { return threads_; }

  // work(part) for each part in [0, parts), each once; returns when all are done.
  template <typename Work>
  void run(uint32_t parts, const Work& work) {
    if (parts == 1) return work(0);
    Shared& shared = *shared_;
    shared.work = &work;
    shared.call = [](const void* work, uint32_t part) { (*static_cast<const Work*>(work))(part); };
    shared.done.store(0, std::memory_order_relaxed);
    shared.ticket.store(static_cast<uint64_t>(parts) << 32, std::memory_order_release);
    while (shared.take()) {
    }
    for (Spin spin; shared.done.load(std::memory_order_acquire) < parts;) spin.once();
  }

 private:
  static constexpr uint64_t kClosed = ~uint64_t{0};

  struct Shared {
    // How many parts there are (high half) and how many have been taken (low half). What belongs to a part is read
    // after it was taken, and a run does not end before its taken parts are done: so it is that run's.
    std::atomic<uint64_t> ticket{0};
    alignas(64) std::atomic<uint32_t> done{0};
    const void* work = nullptr;
    void (*call)(const void*, uint32_t) = nullptr;

    bool take() {
      uint64_t seen = ticket.load(std::memory_order_acquire);
      do {
        if (seen == kClosed || static_cast<uint32_t>(seen) >= seen >> 32) return false;
      } while (!ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire));
      call(work, static_cast<uint32_t>(seen));
      done.fetch_add(1, std::memory_order_release);
      return true;
    }

    void help() {
      Spin spin;
      while (ticket.load(std::memory_order_acquire) != kClosed) {
        if (take()) {
          spin = Spin();
        } else {
          spin.once();
        }
      }
    }
  };

  std::shared_ptr<Shared> shared_;
  int64_t threads_;
};

}  // namespace capibara

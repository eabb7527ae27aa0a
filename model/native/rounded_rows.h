// Activations as products with 8-bit weights take them: each row is rounded to 8 bits with a step of its own, and so is
// the remainder, 254 times finer. The two are its halves.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "floats.h"
#include "tiles.h"

namespace capibara {

constexpr float kLargest = 127.0f;
constexpr float kRemainders = 254.0f;
constexpr int64_t kPadding = 64;  // bytes that a half is filled up to a multiple of

class RoundedRows {
 public:
  void resize(int64_t rows, int64_t inputs) {
    rows_ = rows;
    inputs_ = inputs;
    padded_ = (inputs + kPadding - 1) / kPadding * kPadding;
    tiled_ = tiles_fit(rows, inputs);
    values_.resize(2 * rows * padded_ + kPadding);
    excess_.resize(2 * rows);
    step_.resize(rows);
    if (tiled_) packed_.resize(column_tiles() * kColumns * inputs + kPadding);
  }

  int64_t rows() const { return rows_; }
  int64_t padded() const { return padded_; }
  bool tiled() const { return tiled_; }
  float step(int64_t row) const { return step_[row]; }
  int32_t excess(int64_t half) const { return excess_[half]; }  // what 128 more in each weight adds to a sum
  const int8_t* half(int64_t index) const { return aligned(values_) + index * padded_; }

  // Tiles of sixteen halves: tile `index` has for each four inputs the four values of each half.
  int64_t column_tiles() const { return (2 * rows_ + kColumns - 1) / kColumns; }
  const int8_t* column_tile(int64_t index) const { return aligned(packed_) + index * kColumns * inputs_; }

  // Each row may be set, and then each tile packed, by another thread.
  void set(int64_t row, const float* x) {
    int8_t* whole = const_cast<int8_t*>(half(2 * row));
    int8_t* rest = const_cast<int8_t*>(half(2 * row + 1));
    const float largest = largest_of(x);
    excess_[2 * row] = excess_[2 * row + 1] = 0;
    if (!std::isfinite(largest)) {
      step_[row] = std::numeric_limits<float>::quiet_NaN();
      std::fill_n(whole, 2 * padded_, int8_t{0});
      return;
    }
    const float step = std::max(largest, std::numeric_limits<float>::min()) / kLargest;
    step_[row] = step;
    Ints whole_sum{}, rest_sum{};
    for (int64_t k = 0; k < inputs_; k += kLanes) {
      const Floats steps = load(x + k, inputs_ - k) / step, nearest = rounded(steps);
      whole_sum += store_bytes(whole + k, nearest);
      rest_sum += store_bytes(rest + k, rounded((steps - nearest) * kRemainders));
    }
    const int64_t filled = (inputs_ + kLanes - 1) / kLanes * kLanes;
    std::fill(whole + filled, whole + padded_, int8_t{0});
    std::fill(rest + filled, rest + padded_, int8_t{0});
    excess_[2 * row] = 128 * sum(whole_sum);
    excess_[2 * row + 1] = 128 * sum(rest_sum);
  }

  void pack(int64_t tile) {
    const int8_t* from[kColumns];
    for (int64_t i = 0; i < kColumns; ++i) from[i] = half(std::min(kColumns * tile + i, 2 * rows_ - 1));
    interleave(from, inputs_, const_cast<int8_t*>(column_tile(tile)));
  }

 private:
  static const int8_t* aligned(const std::vector<int8_t>& values) {
    const auto start = reinterpret_cast<uintptr_t>(values.data());
    return reinterpret_cast<const int8_t*>((start + kPadding - 1) / kPadding * kPadding);
  }

  // As integers, magnitudes are ordered as they are as floats, infinity and what is no number above all others.
  float largest_of(const float* x) const {
    Ints most{};
    for (int64_t k = 0; k < inputs_; k += kLanes) {
      const Floats values = load(x + k, inputs_ - k);
      Ints bits;
      std::memcpy(&bits, &values, sizeof bits);
      bits &= 0x7fffffff;
      most = bits > most ? bits : most;
    }
    int32_t largest_bits = 0;
    for (int i = 0; i < kLanes; ++i) largest_bits = std::max(largest_bits, most[i]);
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    return largest;
  }

  // To whole numbers, ties to even: beside so large a number there is no room for fractions.
  static Floats rounded(Floats x) {
    const Floats large = all(12582912.0f);
    return (x + large) - large;
  }

  static Ints store_bytes(int8_t* to, Floats whole_numbers) {
    typedef int8_t Bytes __attribute__((vector_size(16)));
    const Ints values = __builtin_convertvector(whole_numbers, Ints);
    const Bytes bytes = __builtin_convertvector(values, Bytes);
    std::memcpy(to, &bytes, sizeof bytes);
    return values;
  }

  int64_t rows_ = 0, inputs_ = 0, padded_ = 0;
  bool tiled_ = false;
  std::vector<int8_t> values_, packed_;
  std::vector<int32_t> excess_;
  std::vector<float> step_;
};

}  // namespace capibara

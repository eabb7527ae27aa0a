// Products with 8-bit weights, as `Int8Linear` defines them: each row of activations is rounded to 8 bits with a step
// of its own, and so is the remainder, 254 times finer. Sums of 8-bit products are exact: a row's result does not
// depend on the rows beside it, nor on who computed which part.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "floats.h"

namespace capibara {

constexpr float kLargest = 127.0f;
constexpr float kRemainders = 254.0f;
constexpr int64_t kMostRows = 16;
constexpr int64_t kBlock = 64;    // outputs of a part, at most
constexpr int64_t kAhead = 2304;  // bytes that weights are asked for before they are needed
constexpr int64_t kPadding = 64;  // bytes that a row of activations is filled up to a multiple of

// A weight [outputs, inputs] with one scale for each output.
struct Weight {
  const int8_t* values;
  const float* scale;
  int64_t outputs, inputs;

  // Outputs of one part: some 32 KB of weights, short enough to share evenly, long enough for a processor to read ahead.
  int64_t block() const { return std::clamp<int64_t>(32768 / inputs / 4 * 4, 4, kBlock); }
  uint32_t parts() const { return static_cast<uint32_t>((outputs + block() - 1) / block()); }
};

// Rows of activations in 8 bits, each as two: value and remainder.
class RoundedRows {
 public:
  void round(const float* x, int64_t rows, int64_t inputs) {
    rows_ = rows;
    padded_ = (inputs + kPadding - 1) / kPadding * kPadding;
    values_.assign(2 * rows * padded_ + kPadding, 0);
    excess_.resize(2 * rows);
    step_.resize(rows);
    for (int64_t row = 0; row < rows; ++row) round_row(x + row * inputs, row, inputs);
  }

  int64_t rows() const { return rows_; }
  int64_t padded() const { return padded_; }
  float step(int64_t row) const { return step_[row]; }
  int32_t excess(int64_t half) const { return excess_[half]; }
  const int8_t* half(int64_t index) const {
    auto start = reinterpret_cast<uintptr_t>(values_.data());
    return reinterpret_cast<const int8_t*>((start + kPadding - 1) / kPadding * kPadding) + index * padded_;
  }

 private:
  void round_row(const float* x, int64_t row, int64_t inputs) {
    // As integers, magnitudes are ordered as they are as floats, infinity and what is no number above all others.
    int32_t largest_bits = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      int32_t bits;
      std::memcpy(&bits, x + k, sizeof bits);
      largest_bits = std::max(largest_bits, bits & 0x7fffffff);
    }
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    excess_[2 * row] = excess_[2 * row + 1] = 0;
    if (largest_bits >= 0x7f800000) {
      step_[row] = std::numeric_limits<float>::quiet_NaN();
      return;
    }
    const float step = std::max(largest, std::numeric_limits<float>::min()) / kLargest;
    step_[row] = step;
    int8_t* whole = const_cast<int8_t*>(half(2 * row));
    int8_t* rest = const_cast<int8_t*>(half(2 * row + 1));
    int32_t whole_sum = 0, rest_sum = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      const float steps = x[k] / step, nearest = std::nearbyint(steps);
      const int32_t value = static_cast<int32_t>(nearest);
      const int32_t remainder = static_cast<int32_t>(std::nearbyint((steps - nearest) * kRemainders));
      whole[k] = static_cast<int8_t>(value);
      rest[k] = static_cast<int8_t>(remainder);
      whole_sum += value;
      rest_sum += remainder;
    }
    excess_[2 * row] = 128 * whole_sum;
    excess_[2 * row + 1] = 128 * rest_sum;
  }

  int64_t rows_ = 0, padded_ = 0;
  std::vector<int8_t> values_;
  std::vector<int32_t> excess_;
  std::vector<float> step_;
};

// sums[half][output] of HALVES rounded rows by OUTPUTS rows of a weight.
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512F__)

// The instruction multiplies unsigned by signed: 128 is added to the weights (their highest bit turned), and what that
// adds to a sum, 128 times the sum of the activations, is taken off in the end.
template <int HALVES, int OUTPUTS>
inline void tile(const RoundedRows& x, int64_t first, const int8_t* weight, int64_t inputs, int32_t* sums) {
  const int64_t padded = x.padded(), whole = inputs / 64 * 64;
  const int8_t* half = x.half(first);
  const __m512i turned = _mm512_set1_epi8(static_cast<char>(0x80));
  constexpr int kSums = HALVES * OUTPUTS;
  __m512i found[(kSums + 3) / 4 * 4] = {};
  // One row of the weight after the other: processors read ahead in memory that is read from front to back.
  for (int n = 0; n < OUTPUTS; ++n, weight += inputs) {
    __m512i own[HALVES];
    for (int h = 0; h < HALVES; ++h) own[h] = _mm512_setzero_si512();
    auto add = [&](int64_t k, __m512i loaded) {
      const __m512i values = _mm512_xor_si512(loaded, turned);
      for (int h = 0; h < HALVES; ++h)
        own[h] = _mm512_dpbusd_epi32(own[h], values, _mm512_load_si512(half + h * padded + k));
    };
    for (int64_t k = 0; k < whole; k += 64) {
      // With few rows the processor sees for itself what comes next; with more it is too busy to look that far ahead.
      if (HALVES > 4) _mm_prefetch(weight + k + kAhead, _MM_HINT_T0);
      add(k, _mm512_loadu_si512(weight + k));
    }
    if (whole < inputs) add(whole, _mm512_maskz_loadu_epi8((uint64_t{1} << (inputs - whole)) - 1, weight + whole));
    for (int h = 0; h < HALVES; ++h) found[h * OUTPUTS + n] = own[h];
  }
  for (int i = 0; i < kSums; i += 4) {
    const FourInts four = capibara::sums((Ints)found[i], (Ints)found[i + 1], (Ints)found[i + 2], (Ints)found[i + 3]);
    for (int j = i; j < i + 4 && j < kSums; ++j)
      sums[j / OUTPUTS * kBlock + j % OUTPUTS] = four[j - i] - x.excess(first + j / OUTPUTS);
  }
}

#else

template <int HALVES, int OUTPUTS>
inline void tile(const RoundedRows& x, int64_t first, const int8_t* weight, int64_t inputs, int32_t* sums) {
  for (int h = 0; h < HALVES; ++h) {
    const int8_t* half = x.half(first + h);
    for (int n = 0; n < OUTPUTS; ++n) {
      int32_t found = 0;
#if defined(__AVX2__)
      // Also unsigned by signed: magnitudes of the weights by activations with the weights' signs.
      __m256i four = _mm256_setzero_si256();
      int64_t k = 0;
      for (; k + 32 <= inputs; k += 32) {
        const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weight + n * inputs + k));
        const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(half + k));
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(v, w));
        four = _mm256_add_epi32(four, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      }
      int32_t each[8];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(each), four);
      for (int32_t one : each) found += one;
      for (; k < inputs; ++k) found += int32_t{weight[n * inputs + k]} * half[k];
#else
      for (int64_t k = 0; k < inputs; ++k) found += int32_t{weight[n * inputs + k]} * half[k];
#endif
      sums[h * kBlock + n] = found;
    }
  }
}

#endif

// sums of all rows by OUTPUTS rows of a weight, which stay in the nearest cache from one group of rows to the next.
template <int OUTPUTS>
inline void columns(const RoundedRows& x, const int8_t* weight, int64_t inputs, int32_t* sums) {
  for (int64_t row = 0; row < x.rows(); row += 4) {
    int32_t* to = sums + 2 * row * kBlock;
    switch (x.rows() - row) {
      case 1: tile<2, OUTPUTS>(x, 2 * row, weight, inputs, to); break;
      case 2: tile<4, OUTPUTS>(x, 2 * row, weight, inputs, to); break;
      case 3: tile<6, OUTPUTS>(x, 2 * row, weight, inputs, to); break;
      default: tile<8, OUTPUTS>(x, 2 * row, weight, inputs, to); break;
    }
  }
}

// finish(row, result) with the outputs [begin, begin + count) of each row, result having kBlock floats.
template <typename Finish>
inline void multiply(const RoundedRows& x, const Weight& weight, int64_t begin, int64_t count, const Finish& finish) {
  alignas(64) int32_t sums[2 * kMostRows * kBlock];
  alignas(64) float result[kBlock];
  const int8_t* values = weight.values + begin * weight.inputs;
  int64_t n = 0;
  for (; n + 2 <= count; n += 2) columns<2>(x, values + n * weight.inputs, weight.inputs, sums + n);
  if (n < count) columns<1>(x, values + n * weight.inputs, weight.inputs, sums + n);
  for (int64_t row = 0; row < x.rows(); ++row) {
    const int32_t* both = sums + 2 * row * kBlock;
    const float step = x.step(row);
    for (n = 0; n < count; ++n) {
      const float whole = static_cast<float>(both[n]), rest = static_cast<float>(both[kBlock + n]);
      result[n] = (whole + rest / kRemainders) * step * weight.scale[begin + n];
    }
    finish(row, result);
  }
}

}  // namespace capibara

// Products with weights in groups of 32 inputs, as `GroupedLinear` defines them, and activations as they are. A weight is
// made where it is used, once for up to four rows. A row's sums are taken in the same order whatever rows are beside it.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "floats.h"

namespace capibara {

constexpr int64_t kGroup = 32;

#if defined(__AVX512F__)

// Sixteen float16, given by their bits; of the last ones `count` are there.
inline Floats widened(const uint16_t* from, int64_t count) {
  alignas(32) uint16_t halves[kLanes] = {};
  std::memcpy(halves, from, std::min(count, kLanes) * sizeof(uint16_t));
  return (Floats)_mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(halves)));
}

inline __m128i sixteen(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

#else

inline float widened(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16, magnitude = half & 0x7fff;
  float found = static_cast<float>(magnitude) * 0x1p-24f;  // of the smallest, which have no exponent
  if (magnitude >= 0x400) {
    // Exponents count from another zero; the largest one stands for what is no number.
    const uint32_t bits = (magnitude << 13) + (magnitude < 0x7c00 ? 0x38000000u : 0x70000000u);
    std::memcpy(&found, &bits, sizeof found);
  }
  return sign ? -found : found;
}

inline Floats widened(const uint16_t* from, int64_t count) {
  Floats found{};
  for (int64_t i = 0; i < std::min(count, kLanes); ++i) found[i] = widened(from[i]);
  return found;
}

// Loops that compilers know to do for all lanes at once.
template <typename Step>
inline Floats floats_of(const Step* steps) {
  alignas(64) float found[kLanes];
  for (int i = 0; i < kLanes; ++i) found[i] = static_cast<float>(int32_t{steps[i]});
  return load(found);
}

#endif

// Of a group in 4 bits: its first half in the lower bits of 16 bytes, its second half in the higher ones.
struct FourBits {
  static constexpr int64_t kBytes = 16;
  static constexpr bool kLeast = true;
  static void values(const uint8_t* from, float scale, float least, Floats& first, Floats& second) {
#if defined(__AVX512F__)
    const Floats each = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    // The value of each step, of which a permutation picks one by the lowest four bits of a lane.
    const __m512 table = (__m512)(each * scale + least);
    const __m512i both = _mm512_cvtepu8_epi32(sixteen(from));
    first = (Floats)_mm512_permutexvar_ps(both, table);
    second = (Floats)_mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table);
#else
    uint8_t low[kLanes], high[kLanes];
    for (int i = 0; i < kLanes; ++i) low[i] = from[i] & 15, high[i] = from[i] >> 4;
    first = floats_of(low) * scale + least;
    second = floats_of(high) * scale + least;
#endif
  }
};

struct EightBits {
  static constexpr int64_t kBytes = 32;
  static constexpr bool kLeast = false;
  static void values(const uint8_t* from, float scale, float, Floats& first, Floats& second) {
#if defined(__AVX512F__)
    first = (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen(from))) * scale;
    second = (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen(from + kLanes))) * scale;
#else
    const auto* steps = reinterpret_cast<const int8_t*>(from);
    first = floats_of(steps) * scale;
    second = floats_of(steps + kLanes) * scale;
#endif
  }
};

// A weight [outputs, groups] of groups, with a scale for each and in 4 bits a least value.
struct Groups {
  const uint8_t* steps;
  const uint16_t *scale, *least;
  int64_t outputs, groups, bytes;

  // Outputs of one part: some 32 KB of weights.
  int64_t block() const { return std::clamp<int64_t>(32768 / (groups * bytes), 1, 64); }
  uint32_t parts() const { return static_cast<uint32_t>((outputs + block() - 1) / block()); }
};

// result[row * stride] of ROWS rows of x, `inputs` apart, by one output of the weight.
template <typename Kind, int ROWS>
inline void output(const float* x, int64_t inputs, const uint8_t* steps, const float* scale, const float* least,
                   int64_t groups, float* result, int64_t stride) {
  Floats first_sums[ROWS] = {}, second_sums[ROWS] = {};
  for (int64_t g = 0; g < groups; ++g, steps += Kind::kBytes, x += kGroup) {
    Floats first, second;
    Kind::values(steps, scale[g], least[g], first, second);
    for (int row = 0; row < ROWS; ++row) {
      first_sums[row] += first * load(x + row * inputs);
      second_sums[row] += second * load(x + row * inputs + kLanes);
    }
  }
  for (int row = 0; row < ROWS; ++row) result[row * stride] = sum(first_sums[row] + second_sums[row]);
}

// The outputs [begin, begin + count) of each row; x has whole groups in a row.
template <typename Kind>
inline void multiply(const float* x, int64_t rows, const Groups& weight, int64_t begin, int64_t count, float* result) {
  thread_local std::vector<float> numbers;
  const int64_t G = weight.groups, padded = (G + kLanes - 1) / kLanes * kLanes, inputs = G * kGroup;
  numbers.resize(2 * padded);
  float *scale = numbers.data(), *least = scale + padded;
  for (int64_t n = begin; n < begin + count; ++n) {
    for (int64_t g = 0; g < G; g += kLanes) {
      store(scale + g, widened(weight.scale + n * G + g, G - g));
      if (Kind::kLeast) store(least + g, widened(weight.least + n * G + g, G - g));
    }
    const uint8_t* steps = weight.steps + n * G * Kind::kBytes;
    for (int64_t row = 0; row < rows; row += 4) {
      const float* from = x + row * inputs;
      float* to = result + row * weight.outputs + n;
      switch (rows - row) {
        case 1: output<Kind, 1>(from, inputs, steps, scale, least, G, to, weight.outputs); break;
        case 2: output<Kind, 2>(from, inputs, steps, scale, least, G, to, weight.outputs); break;
        case 3: output<Kind, 3>(from, inputs, steps, scale, least, G, to, weight.outputs); break;
        default: output<Kind, 4>(from, inputs, steps, scale, least, G, to, weight.outputs); break;
      }
    }
  }
}

}  // namespace capibara

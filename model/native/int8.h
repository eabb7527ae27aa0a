// Products with 8-bit weights, as `Int8Linear` defines them, of rounded rows. Sums of 8-bit products are exact: a row's
// result does not depend on the rows beside it, nor on who computed which part, nor on how.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "floats.h"
#include "rounded_rows.h"
#include "tiles.h"

namespace capibara {

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512F__)
#define CAPIBARA_VNNI 1
constexpr int64_t kMostRows = 4096;  // what a thread keeps for the next call stays small
#else
constexpr int64_t kMostRows = 16;  // beyond, XLA's own products are as fast
#endif
constexpr int64_t kBlock = 64;    // outputs of a part, at most
constexpr int64_t kAhead = 2304;  // bytes that weights are asked for before they are needed

// A weight [outputs, inputs] with one scale for each output.
struct Weight {
  const int8_t* values;
  const float* scale;
  int64_t outputs, inputs;

  // Outputs of one part. Without tiles some 32 KB of weights, short enough to share evenly, long enough for a processor
  // to read ahead.
  int64_t block(const RoundedRows& x) const {
    return x.tiled() ? kTiledOutputs : std::clamp<int64_t>(32768 / inputs / 4 * 4, 4, kBlock);
  }
  uint32_t parts(const RoundedRows& x) const { return static_cast<uint32_t>((outputs + block(x) - 1) / block(x)); }
};

// sums[half][output] of HALVES rounded rows by OUTPUTS rows of a weight.
#if defined(CAPIBARA_VNNI)

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

// sums of rows [first, first + rows) by OUTPUTS rows of a weight, which stay in the nearest cache from one group of rows
// to the next.
template <int OUTPUTS>
inline void columns(const RoundedRows& x, int64_t first, int64_t rows, const int8_t* weight, int64_t inputs,
                    int32_t* sums) {
  for (int64_t row = 0; row < rows; row += 4) {
    const int64_t half = 2 * (first + row);
    int32_t* to = sums + 2 * row * kBlock;
    switch (rows - row) {
      case 1: tile<2, OUTPUTS>(x, half, weight, inputs, to); break;
      case 2: tile<4, OUTPUTS>(x, half, weight, inputs, to); break;
      case 3: tile<6, OUTPUTS>(x, half, weight, inputs, to); break;
      default: tile<8, OUTPUTS>(x, half, weight, inputs, to); break;
    }
  }
}

// finish(row, result) with the outputs [begin, begin + count) of rows [first, first + rows), from the sums of their
// halves, each of which has SUMS of them.
template <int SUMS, typename Finish>
inline void scale_sums(const RoundedRows& x, const Weight& weight, int64_t first, int64_t rows, int64_t begin,
                       int64_t count, const int32_t* sums, const Finish& finish) {
  alignas(64) float result[kBlock];
  for (int64_t row = first; row < first + rows; ++row, sums += 2 * SUMS) {
    const float step = x.step(row);
    for (int64_t n = 0; n < count; ++n) {
      const float whole = static_cast<float>(sums[n]), rest = static_cast<float>(sums[SUMS + n]);
      result[n] = (whole + rest * (1.0f / kRemainders)) * step * weight.scale[begin + n];
    }
    finish(row, result);
  }
}

// Processors do not see what comes next behind tiles: all the while what lies `stride` outputs further on is asked for.
template <typename Finish>
inline void multiply_tiles(const RoundedRows& x, const Weight& weight, int64_t begin, int64_t count, int64_t stride,
                           const Finish& finish) {
  alignas(64) int32_t sums[2 * kColumns * kTiledOutputs];
  const int8_t* values = weight.values + begin * weight.inputs;
  const int64_t pairs = (x.column_tiles() + 1) / 2, lines = (kTiledOutputs + pairs - 1) / pairs;
  Ahead ahead{values + stride * weight.inputs, begin + stride < weight.outputs ? lines : 0};
  const Tiles tiles(count);
  for (int64_t tile = 0; tile < x.column_tiles(); tile += 2) {
    const bool two = tile + 1 < x.column_tiles();
    const int8_t* columns = x.column_tile(tile);
    const auto sum_up = count > 16 ? (two ? tile_sums<2, 2> : tile_sums<2, 1>) : (two ? tile_sums<1, 2> : tile_sums<1, 1>);
    sum_up(values, weight.inputs, columns, ahead, sums);
    ahead.from += ahead.lines * weight.inputs;
    const int64_t first = tile * kColumns / 2, rows = std::min((two ? 2 : 1) * kColumns / 2, x.rows() - first);
    scale_sums<kTiledOutputs>(x, weight, first, rows, begin, count, sums, finish);
  }
}

// finish(row, result) with the outputs [begin, begin + count) of each row, result having kBlock floats. The thread will
// most likely be asked for those `stride` further on next.
template <typename Finish>
inline void multiply(const RoundedRows& x, const Weight& weight, int64_t begin, int64_t count, int64_t stride,
                     const Finish& finish) {
  if (x.tiled()) return multiply_tiles(x, weight, begin, count, stride, finish);
  constexpr int64_t kRows = 16;  // few enough that the activations, too, stay near
  alignas(64) int32_t sums[2 * kRows * kBlock];
  const int8_t* values = weight.values + begin * weight.inputs;
  for (int64_t first = 0; first < x.rows(); first += kRows) {
    const int64_t rows = std::min(kRows, x.rows() - first);
    int64_t n = 0;
    for (; n + 2 <= count; n += 2) columns<2>(x, first, rows, values + n * weight.inputs, weight.inputs, sums + n);
    if (n < count) columns<1>(x, first, rows, values + n * weight.inputs, weight.inputs, sums + n);
    scale_sums<kBlock>(x, weight, first, rows, begin, count, sums, finish);
  }
}

}  // namespace capibara

// Products of many rows by the processor's matrix unit (Intel's AMX), where there is one: tiles of sixteen outputs by
// sixteen halves of rows, 64 inputs at a time. The weights are read as they lie; it is the activations that are packed.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__AMX_INT8__) && defined(__AVX512F__) && defined(__linux__)
#define CAPIBARA_TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace capibara {

constexpr int64_t kColumns = 16;       // of a tile
constexpr int64_t kTileInputs = 64;    // that are multiplied at a time
constexpr int64_t kTiledOutputs = 32;  // of a part
constexpr int64_t kFewestTiledRows = 4;

// Memory that is asked for meanwhile: `lines` for each step over the inputs.
struct Ahead {
  const int8_t* from;
  int64_t lines;
};

#if defined(CAPIBARA_TILES)

// The system lets a program use the unit's registers only if it asks.
inline bool tiles_allowed() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool allowed = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return allowed;
}

// Sixteen vectors of sixteen 32-bit values: value i of vector j becomes value j of vector i.
inline void transpose(__m512i (&v)[16]) {
  __m512i w[16];
  for (int i = 0; i < 16; i += 2) {
    w[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    w[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 2; ++j) {
      v[i + 2 * j] = _mm512_unpacklo_epi64(w[i + j], w[i + j + 2]);
      v[i + 2 * j + 1] = _mm512_unpackhi_epi64(w[i + j], w[i + j + 2]);
    }
  }
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 4; ++j) {
      w[i + j] = _mm512_shuffle_i32x4(v[i + j], v[i + j + 4], 0x88);
      w[i + j + 4] = _mm512_shuffle_i32x4(v[i + j], v[i + j + 4], 0xdd);
    }
  }
  for (int j = 0; j < 8; ++j) {
    v[j] = _mm512_shuffle_i32x4(w[j], w[j + 8], 0x88);
    v[j + 8] = _mm512_shuffle_i32x4(w[j], w[j + 8], 0xdd);
  }
}

// Sixteen halves of `inputs` values, four values of each in turn.
inline void interleave(const int8_t* const (&from)[kColumns], int64_t inputs, int8_t* to) {
  for (int64_t k = 0; k < inputs; k += kTileInputs, to += kColumns * kTileInputs) {
    __m512i v[16];
    for (int i = 0; i < 16; ++i) v[i] = _mm512_loadu_si512(from[i] + k);
    transpose(v);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * 64, v[i]);
  }
}

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// The unit's registers, shaped for the weights of `outputs` outputs, from construction to destruction.
class Tiles {
 public:
  explicit Tiles(int64_t outputs) {
    TileShapes shapes;
    for (int tile = 0; tile < 8; ++tile) shapes.bytes[tile] = 64;
    const auto first = static_cast<uint8_t>(std::min<int64_t>(16, outputs));
    const auto second = static_cast<uint8_t>(outputs > 16 ? outputs - 16 : 1);
    // Sums 0 to 3 (outputs, then columns), weights 4 and 5, activations 6 and 7.
    const uint8_t rows[8] = {first, first, second, second, first, second, 16, 16};
    std::memcpy(shapes.rows, rows, sizeof rows);
    asm volatile("" : : "r"(&shapes) : "memory");  // GCC does not see that all of it is read
    _tile_loadconfig(&shapes);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// sums[(16 * COLUMNS) columns][32 outputs] of one or two tiles of columns and one or two of outputs.
template <int OUTPUTS, int COLUMNS>
inline void tile_sums(const int8_t* weight, int64_t inputs, const int8_t* columns, Ahead ahead, int32_t* sums) {
  const int8_t* second = columns + kColumns * inputs;
  _tile_zero(0);
  if constexpr (COLUMNS == 2) _tile_zero(1);
  if constexpr (OUTPUTS == 2) _tile_zero(2);
  if constexpr (OUTPUTS == 2 && COLUMNS == 2) _tile_zero(3);
  for (int64_t k = 0; k < inputs; k += kTileInputs) {
    for (int64_t line = 0; line < ahead.lines; ++line, ahead.from += 64) _mm_prefetch(ahead.from, _MM_HINT_T1);
    _tile_loadd(4, weight + k, inputs);
    _tile_loadd(6, columns + k * kColumns, 64);
    _tile_dpbssd(0, 4, 6);
    if constexpr (COLUMNS == 2) {
      _tile_loadd(7, second + k * kColumns, 64);
      _tile_dpbssd(1, 4, 7);
    }
    if constexpr (OUTPUTS == 2) {
      _tile_loadd(5, weight + 16 * inputs + k, inputs);
      _tile_dpbssd(2, 5, 6);
      if constexpr (COLUMNS == 2) _tile_dpbssd(3, 5, 7);
    }
  }
  alignas(64) int32_t found[4][256];
  _tile_stored(0, found[0], 64);
  if constexpr (COLUMNS == 2) _tile_stored(1, found[1], 64);
  if constexpr (OUTPUTS == 2) _tile_stored(2, found[2], 64);
  if constexpr (OUTPUTS == 2 && COLUMNS == 2) _tile_stored(3, found[3], 64);
  for (int n = 0; n < OUTPUTS; ++n) {
    for (int c = 0; c < COLUMNS; ++c) {
      __m512i v[16];
      for (int i = 0; i < 16; ++i) v[i] = _mm512_load_si512(found[2 * n + c] + 16 * i);
      transpose(v);
      for (int i = 0; i < 16; ++i)
        _mm512_store_si512(sums + (16 * c + i) * kTiledOutputs + 16 * n, v[i]);
    }
  }
}

#else

inline bool tiles_allowed() { return false; }
inline void interleave(const int8_t* const (&)[kColumns], int64_t, int8_t*) {}
struct Tiles {
  explicit Tiles(int64_t) {}
};
template <int OUTPUTS, int COLUMNS>
inline void tile_sums(const int8_t*, int64_t, const int8_t*, Ahead, int32_t*) {}

#endif

// Fewer rows leave most of a tile empty.
inline bool tiles_fit(int64_t rows, int64_t inputs) {
  return rows >= kFewestTiledRows && inputs % kTileInputs == 0 && tiles_allowed();
}

}  // namespace capibara

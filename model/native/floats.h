// Sixteen floats at a time, in the compilers' own vectors: they become whatever registers the processor has.

#pragma once

#include <cstdint>
#include <cstring>

namespace capibara {

constexpr int64_t kLanes = 16;

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef float LooseFloats __attribute__((vector_size(64), aligned(4), may_alias));  // at any address
typedef float FourFloats __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

#if defined(__clang__)
#define CAPIBARA_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CAPIBARA_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Ints){__VA_ARGS__})
#endif

inline Floats load(const float* from) { return *reinterpret_cast<const LooseFloats*>(from); }
inline void store(float* to, Floats values) { *reinterpret_cast<LooseFloats*>(to) = values; }
inline Floats all(float value) { return value - Floats{}; }

// The first `count` lanes; the others are zero.
inline Floats load(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
  Floats values{};
  std::memcpy(&values, from, count * sizeof(float));
  return values;
}

inline void store(float* to, Floats values, int64_t count) {
  if (count >= kLanes) return store(to, values);
  std::memcpy(to, &values, count * sizeof(float));
}

inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// The sums over the lanes of four vectors.
template <typename Lanes, typename Four>
inline Four four_sums(Lanes a, Lanes b, Lanes c, Lanes d) {
  Lanes ab = CAPIBARA_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
             CAPIBARA_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  Lanes cd = CAPIBARA_SHUFFLE(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
             CAPIBARA_SHUFFLE(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  Lanes each = CAPIBARA_SHUFFLE(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               CAPIBARA_SHUFFLE(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  Four quarters[4];
  std::memcpy(quarters, &each, sizeof each);
  return (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
}

inline FourFloats sums(Floats a, Floats b, Floats c, Floats d) { return four_sums<Floats, FourFloats>(a, b, c, d); }
inline FourInts sums(Ints a, Ints b, Ints c, Ints d) { return four_sums<Ints, FourInts>(a, b, c, d); }

inline float sum(Floats values) { return sums(values, Floats{}, Floats{}, Floats{})[0]; }
inline int32_t sum(Ints values) { return sums(values, Ints{}, Ints{}, Ints{})[0]; }

// e^x to about one unit in the last place (the polynomial is Cephes' expf, S. Moshier); 0 below e^-87, so for -inf.
inline Floats exponential(Floats x) {
  const Floats least = all(-87.0f), most = all(88.0f), magic = all(12582912.0f);
  const Floats kept = x < least ? least : (x > most ? most : x);  // NaN stays
  const Floats shifted = kept * 1.44269504088896341f + magic;     // rounds to an integer in the lowest bits
  const Floats turns = shifted - magic;
  const Floats rest = (kept - turns * 0.693359375f) + turns * 2.12194440e-4f;
  Floats series = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  series = series * rest + 8.3334519073e-3f;
  series = series * rest + 4.1665795894e-2f;
  series = series * rest + 1.6666665459e-1f;
  series = series * rest + 5.0000001201e-1f;
  series = series * rest * rest + rest + 1.0f;
  Bits bits, power;
  std::memcpy(&bits, &series, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += power << 23;
  std::memcpy(&series, &bits, sizeof series);
  return x < least ? Floats{} : series;
}

// cap * tanh(x / cap)
inline Floats soft_capped(Floats x, float cap) { return cap - 2.0f * cap / (exponential(x * (2.0f / cap)) + 1.0f); }

}  // namespace capibara

// Attention of new tokens over a cache, which is read only as far as it is filled, and by few tokens once. Each sees all
// before it: where heads see no farther than a window, XLA attends.
//
// The cache is cut into stretches that are attended to on their own and put together afterwards (Dao et al.,
// 2205.14135). The cuts stand at fixed slots: a token's result does not depend on the tokens beside it, nor on who
// computed which stretch.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "floats.h"

namespace capibara {

constexpr int64_t kStretch = 128;  // slots

// Where the values of heads and tokens lie: head `n` of token `t` begins at data + n * by_head + t * by_token.
template <typename Value>
struct Heads {
  Value* data;
  int64_t by_head, by_token;

  Value* at(int64_t head, int64_t token) const { return data + head * by_head + token * by_token; }
};

// One sequence: caches [K, S, H], of which `start` slots are filled; the new tokens' keys and values follow.
struct Sequence {
  float *keys, *values;
  int64_t slots, start, tokens;

  int64_t filled() const { return start + tokens; }
};

struct Shape {
  int64_t heads, kv_heads, width;
  float scale;  // of scores
  float cap;    // soft bound of scores: cap * tanh(score / cap); 0: none

  int64_t group() const { return heads / kv_heads; }
};

// Some of one key head's rows, which are its query heads' tokens: row = query head of the group * tokens + token.
struct Rows {
  int64_t kv_head, first, count;
};

// What attention to one stretch gave, for each of some rows: the weighted values before they are divided by the
// weights' sum, that sum, and the largest score, to which the weights are relative.
class Partials {
 public:
  void resize(const Shape& shape, const Sequence& sequence, const Rows& rows) {
    const int64_t T = sequence.tokens, last = rows.first + rows.count - 1;
    const bool one_head = rows.first / T == last / T;
    rows_ = rows;
    width_ = shape.width;
    stretches_ = (sequence.start + (one_head ? last % T : T - 1)) / kStretch + 1;
    mixed_.resize(stretches_ * rows_.count * width_);
    sum_.resize(stretches_ * rows_.count);
    largest_.resize(sum_.size());
  }
  const Rows& rows() const { return rows_; }
  int64_t stretches() const { return stretches_; }  // that any row sees
  int64_t at(int64_t stretch, int64_t row) const { return stretch * rows_.count + row - rows_.first; }
  float* mixed(int64_t at) { return mixed_.data() + at * width_; }
  float& sum(int64_t at) { return sum_[at]; }
  float& largest(int64_t at) { return largest_[at]; }

 private:
  Rows rows_{};
  int64_t width_ = 0, stretches_ = 0;
  std::vector<float> mixed_, sum_, largest_;
};

// scores[row * kStretch + slot] of ROWS queries and `count` keys.
template <int ROWS>
inline void score(const Shape& shape, const float* const* queries, const float* keys, int64_t count, float* scores) {
  const int64_t width = shape.width;
  for (int64_t slot = 0; slot < count; slot += 4) {
    const float* key[4];
    for (int i = 0; i < 4; ++i) key[i] = keys + std::min<int64_t>(slot + i, count - 1) * width;
    Floats found[ROWS][4] = {};
    for (int64_t h = 0; h < width; h += kLanes) {
      for (int i = 0; i < 4; ++i) {
        const Floats values = load(key[i] + h, width - h);
        for (int row = 0; row < ROWS; ++row) found[row][i] += load(queries[row] + h, width - h) * values;
      }
    }
    for (int row = 0; row < ROWS; ++row) {
      const FourFloats four = sums(found[row][0], found[row][1], found[row][2], found[row][3]) * shape.scale;
      std::memcpy(scores + row * kStretch + slot, &four, sizeof four);
    }
  }
}

// Turns the scores of the first `to` slots into weights relative to the largest one, those of the other `count` into
// zeros; gives their sum.
inline float weigh(float* scores, int64_t to, int64_t count, float cap, float& largest) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int64_t until = (to + kLanes - 1) / kLanes * kLanes;
  largest = kNone;
  if (to == 0) {
    std::fill(scores, scores + count, 0.0f);
    return 0.0f;
  }
  if (cap > 0.0f)
    for (int64_t slot = 0; slot < until; slot += kLanes) store(scores + slot, soft_capped(load(scores + slot), cap));
  std::fill(scores + to, scores + until, kNone);
  Floats most = all(kNone), total{};
  for (int64_t slot = 0; slot < until; slot += kLanes) most = larger(load(scores + slot), most);
  for (int i = 0; i < kLanes; ++i) largest = std::max(largest, most[i]);
  for (int64_t slot = 0; slot < until; slot += kLanes) {
    const Floats weights = exponential(load(scores + slot) - all(largest));
    store(scores + slot, weights);
    total += weights;
  }
  if (until < count) std::fill(scores + until, scores + count, 0.0f);
  return sum(total);
}

// mixed[row] = the values of `count` slots, weighted.
template <int ROWS>
inline void mix(const float* weights, const float* values, int64_t count, int64_t width, float* const* mixed) {
  constexpr int kWide = 4;
  for (int64_t h = 0; h < width; h += kWide * kLanes) {
    Floats found[ROWS][kWide] = {};
    auto add = [&](auto load_part) {
      for (int64_t slot = 0; slot < count; ++slot) {
        for (int i = 0; i < kWide; ++i) {
          const Floats value = load_part(values + slot * width + h, i);
          for (int row = 0; row < ROWS; ++row) found[row][i] += value * weights[row * kStretch + slot];
        }
      }
    };
    if (h + kWide * kLanes <= width) {
      add([](const float* from, int i) { return load(from + i * kLanes); });
    } else {
      add([left = width - h](const float* from, int i) {
        return i * kLanes < left ? load(from + i * kLanes, left - i * kLanes) : Floats{};
      });
    }
    for (int row = 0; row < ROWS; ++row)
      for (int i = 0; i < kWide && h + i * kLanes < width; ++i)
        store(mixed[row] + h + i * kLanes, found[row][i], width - h - i * kLanes);
  }
}

template <int ROWS>
inline void attend_rows(const Shape& shape, const Sequence& sequence, const Heads<const float>& queries,
                        int64_t stretch, int64_t first, Partials& partials) {
  alignas(64) float scores[ROWS * kStretch];
  const float* query[ROWS];
  float* mixed[ROWS];
  int64_t to[ROWS], count = 0;
  const int64_t kv_head = partials.rows().kv_head, begin = stretch * kStretch;
  const int64_t from = (kv_head * sequence.slots + begin) * shape.width;
  for (int i = 0; i < ROWS; ++i) {
    const int64_t row = first + i, token = row % sequence.tokens, own = sequence.start + token;
    query[i] = queries.at(kv_head * shape.group() + row / sequence.tokens, token);
    mixed[i] = partials.mixed(partials.at(stretch, row));
    to[i] = std::clamp<int64_t>(own + 1 - begin, 0, kStretch);
    count = std::max(count, to[i]);
  }
  if (count == 0) return;  // none of them sees any of it
  score<ROWS>(shape, query, sequence.keys + from, count, scores);
  for (int i = 0; i < ROWS; ++i) {
    const int64_t at = partials.at(stretch, first + i);
    partials.sum(at) = weigh(scores + i * kStretch, to[i], count, shape.cap, partials.largest(at));
  }
  mix<ROWS>(scores, sequence.values + from, count, shape.width, mixed);
}

// One part of the work: the rows of `partials`, over one stretch.
inline void attend(const Shape& shape, const Sequence& sequence, const Heads<const float>& queries, int64_t stretch,
                   Partials& partials) {
  const int64_t end = partials.rows().first + partials.rows().count;
  for (int64_t row = partials.rows().first; row < end; row += 4) {
    switch (end - row) {
      case 1: attend_rows<1>(shape, sequence, queries, stretch, row, partials); break;
      case 2: attend_rows<2>(shape, sequence, queries, stretch, row, partials); break;
      case 3: attend_rows<3>(shape, sequence, queries, stretch, row, partials); break;
      default: attend_rows<4>(shape, sequence, queries, stretch, row, partials); break;
    }
  }
}

// Puts the stretches of each row together.
inline void join(const Shape& shape, const Sequence& sequence, Partials& partials, const Heads<float>& output) {
  const Rows& rows = partials.rows();
  for (int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    const int64_t token = row % sequence.tokens, last = (sequence.start + token) / kStretch;
    float largest = -std::numeric_limits<float>::infinity(), total = 0;
    for (int64_t stretch = 0; stretch <= last; ++stretch)
      largest = std::max(largest, partials.largest(partials.at(stretch, row)));
    float* to = output.at(rows.kv_head * shape.group() + row / sequence.tokens, token);
    std::fill(to, to + shape.width, 0.0f);
    for (int64_t stretch = 0; stretch <= last; ++stretch) {
      const int64_t at = partials.at(stretch, row);
      const float share = std::exp(partials.largest(at) - largest);
      const float* mixed = partials.mixed(at);
      total += share * partials.sum(at);
      for (int64_t h = 0; h < shape.width; ++h) to[h] += share * mixed[h];
    }
    for (int64_t h = 0; h < shape.width; ++h) to[h] /= total;
  }
}

// Writes one head's new keys or values [T, H] behind the filled slots.
inline void append(const Shape& shape, const Sequence& sequence, const Heads<const float>& fresh, int64_t head,
                   float* cache) {
  for (int64_t token = 0; token < sequence.tokens; ++token)
    std::copy_n(fresh.at(head, token), shape.width,
                cache + (head * sequence.slots + sequence.start + token) * shape.width);
}

}  // namespace capibara

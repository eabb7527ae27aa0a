// What a decoder layer is put together from, each shared between the threads of a team: products of rounded rows,
// norms, rotations, and attention over caches.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "attention.h"
#include "int8.h"
#include "team.h"

namespace capibara {

// What a call needs beside its results; kept by each thread that calls.
struct Scratch {
  RoundedRows rounded;
  Partials partials;
  std::vector<Partials> by_stretch;
  std::vector<Sequence> sequences;
  std::vector<float> row, projected, mixed, between, gated, filled;
};

inline Scratch& scratch() {
  thread_local Scratch own;
  return own;
}

// Rounds rows that row_of(row, room) makes: it gives where the row lies, which may be the room it is given.
template <typename RowOf>
void round_rows(Team& team, RoundedRows& rounded, int64_t rows, int64_t inputs, const RowOf& row_of) {
  constexpr int64_t kAtOnce = 4;
  rounded.resize(rows, inputs);
  team.run(static_cast<uint32_t>((rows + kAtOnce - 1) / kAtOnce), [&](uint32_t part) {
    std::vector<float>& room = scratch().row;
    room.resize(inputs);
    for (int64_t row = kAtOnce * part; row < std::min(kAtOnce * (part + 1), rows); ++row)
      rounded.set(row, row_of(row, room.data()));
  });
  if (rounded.tiled())
    team.run(static_cast<uint32_t>(rounded.column_tiles()), [&](uint32_t part) { rounded.pack(part); });
}

inline void round_array(Team& team, RoundedRows& rounded, int64_t rows, int64_t inputs, const float* x) {
  round_rows(team, rounded, rows, inputs, [&](int64_t row, float*) { return x + row * inputs; });
}

// finish(row, begin, count, result) for each row and stretch of outputs.
template <typename Finish>
void product(Team& team, const RoundedRows& x, const Weight& weight, const Finish& finish) {
  team.run(weight.parts(x), [&](uint32_t part) {
    const int64_t block = weight.block(x), begin = part * block, count = std::min(block, weight.outputs - begin);
    multiply(x, weight, begin, count, team.threads() * block,
             [&](int64_t row, const float* result) { finish(row, begin, count, result); });
  });
}

inline const float* norm(const float* x, const float* scale, float epsilon, int64_t width, float* normed) {
  Floats squares{};
  for (int64_t d = 0; d < width; d += kLanes) {
    const Floats values = load(x + d, width - d);
    squares += values * values;
  }
  const float by = 1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + epsilon);
  for (int64_t d = 0; d < width; ++d) normed[d] = x[d] * by * scale[d];
  return normed;
}

// Turns a head's first pairs (h, h + pairs) by their angles, which are those of each token in turn.
inline void rotate(const Heads<float>& heads, int64_t head, int64_t tokens, int64_t pairs, const float* cos,
                   const float* sin) {
  for (int64_t token = 0; token < tokens; ++token, cos += pairs, sin += pairs) {
    float* first = heads.at(head, token);
    float* second = first + pairs;
    for (int64_t h = 0; h < pairs; ++h) {
      const float a = first[h], b = second[h];
      first[h] = a * cos[h] - b * sin[h];
      second[h] = b * cos[h] + a * sin[h];
    }
  }
}

inline Floats silu(Floats x) { return x / (exponential(-x) + 1.0f); }

using Queries = std::vector<Heads<const float>>;
using Outputs = std::vector<Heads<float>>;

// Few tokens: each key head's rows, stretch by stretch, so that threads share a long cache.
inline void attention_by_stretch(Team& team, const Shape& shape, const std::vector<Sequence>& sequences,
                                 const Queries& queries, const Outputs& outputs) {
  std::vector<Partials>& partials = scratch().by_stretch;
  const auto heads = static_cast<uint32_t>(sequences.size() * shape.kv_heads);
  if (partials.size() < heads) partials.resize(heads);
  std::vector<uint32_t> until;
  uint32_t parts = 0;
  for (uint32_t i = 0; i < heads; ++i) {
    const Sequence& sequence = sequences[i / shape.kv_heads];
    partials[i].resize(shape, sequence, {i % shape.kv_heads, 0, shape.group() * sequence.tokens});
    until.push_back(parts += static_cast<uint32_t>(partials[i].stretches()));
  }
  team.run(parts, [&](uint32_t part) {
    const size_t i = std::upper_bound(until.begin(), until.end(), part) - until.begin(), b = i / shape.kv_heads;
    const int64_t stretch = part - (i ? until[i - 1] : 0);
    attend(shape, sequences[b], queries[b], stretch, partials[i]);
  });
  for (uint32_t i = 0; i < heads; ++i) {
    const size_t b = i / shape.kv_heads;
    join(shape, sequences[b], partials[i], outputs[b]);
  }
}

// Many tokens: some of a head's rows, over all they see, so that what is to be joined stays small.
inline void attention_by_rows(Team& team, const Shape& shape, const std::vector<Sequence>& sequences,
                              const Queries& queries, const Outputs& outputs) {
  constexpr int64_t kRows = 64;
  const int64_t tokens = sequences.front().tokens, blocks = (tokens + kRows - 1) / kRows;
  team.run(static_cast<uint32_t>(sequences.size() * shape.heads * blocks), [&](uint32_t part) {
    const int64_t b = part / (shape.heads * blocks), head = part / blocks % shape.heads, first = part % blocks * kRows;
    const int64_t row = head % shape.group() * tokens + first;
    Partials& partials = scratch().partials;
    partials.resize(shape, sequences[b], {head / shape.group(), row, std::min(kRows, tokens - first)});
    for (int64_t i = 0; i < partials.stretches(); ++i) attend(shape, sequences[b], queries[b], i, partials);
    join(shape, sequences[b], partials, outputs[b]);
  });
}

// All sequences have as many new tokens.
inline void attention(Team& team, const Shape& shape, const std::vector<Sequence>& sequences, const Queries& queries,
                      const Outputs& outputs) {
  constexpr int64_t kFewTokens = 16;
  if (sequences.empty()) return;
  const bool few = sequences.front().tokens <= kFewTokens;
  (few ? attention_by_stretch : attention_by_rows)(team, shape, sequences, queries, outputs);
}

}  // namespace capibara

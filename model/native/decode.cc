// What XLA calls: products, attention over caches, and a whole decoder layer of both.
//
// Axes as in decoder.py: B sequences, T new tokens, R rows (B times T), D width, K key heads, S slots, H head width,
// F hidden width of the feed-forward. All arrays are dense and row-major. Results of a row do not depend on others.

#include <string>
#include <vector>

#include "groups.h"
#include "parts.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace capibara {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::S8>;
using Halves16 = ffi::Buffer<ffi::F16>;
using Numbers = ffi::Buffer<ffi::S32>;
using Result = ffi::Result<Array>;

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("capibara: ") + what); }

Weight weight_of(const Bytes& values, const Array& scale) {
  return {values.typed_data(), scale.typed_data(), values.dimensions()[0], values.dimensions()[1]};
}

// The caches are passed as keys, values, keys, values, ... and given back in the memory they came in.
ffi::ErrorOr<std::vector<Sequence>> sequences_of(ffi::RemainingArgs caches, ffi::RemainingRets written,
                                                 const int32_t* starts, int64_t tokens) {
  std::vector<Sequence> found;
  for (size_t i = 0; i + 1 < caches.size(); i += 2) {
    float* data[2];
    int64_t slots = 0;
    for (size_t half = 0; half < 2; ++half) {
      auto given = caches.get<Array>(i + half);
      auto result = written.get<Array>(i + half);
      if (!given.has_value() || !result.has_value()) return ffi::Unexpected(wrong("a cache is no float32 array"));
      data[half] = (*result)->typed_data();
      if (data[half] != given->typed_data()) return ffi::Unexpected(wrong("a cache was not given back in its place"));
      slots = given->dimensions()[1];
    }
    if (tokens > slots) return ffi::Unexpected(wrong("more tokens than slots"));
    const int64_t start = std::clamp<int64_t>(starts[i / 2], 0, slots - tokens);
    found.push_back({data[0], data[1], slots, start, tokens});
  }
  return found;
}

// x [R, K], weight [N, K], scale [N] -> [R, N]
ffi::Error int8_product(ffi::ThreadPool pool, Array x, Bytes weight, Array scale, Result result) {
  const Weight by = weight_of(weight, scale);
  const int64_t rows = x.dimensions()[0];
  if (rows > kMostRows) return wrong("too many rows");
  float* to = result->typed_data();
  RoundedRows& rounded = scratch().rounded;
  Team team(pool);
  round_array(team, rounded, rows, by.inputs, x.typed_data());
  product(team, rounded, by, [&](int64_t row, int64_t begin, int64_t count, const float* found) {
    std::copy_n(found, count, to + row * by.outputs + begin);
  });
  return ffi::Error::Success();
}

// x [R, K] by a weight in groups -> [R, N]; where a last group is filled up, so is x, with zeros.
template <typename Kind>
ffi::Error product_in_groups(ffi::ThreadPool& pool, const Array& x, const Groups& weight, Result& result) {
  const int64_t rows = x.dimensions()[0], K = x.dimensions()[1], inputs = weight.groups * kGroup;
  const float* from = x.typed_data();
  if (K != inputs) {
    std::vector<float>& filled = scratch().filled;
    filled.assign(rows * inputs, 0.0f);
    for (int64_t row = 0; row < rows; ++row) std::copy_n(from + row * K, K, filled.data() + row * inputs);
    from = filled.data();
  }
  float* to = result->typed_data();
  Team team(pool);
  team.run(weight.parts(), [&](uint32_t part) {
    const int64_t begin = part * weight.block();
    multiply<Kind>(from, rows, weight, begin, std::min(weight.block(), weight.outputs - begin), to);
  });
  return ffi::Error::Success();
}

// weight [N, G, 32], scale [N, G]
ffi::Error int8_groups_product(ffi::ThreadPool pool, Array x, Bytes weight, Halves16 scale, Result result) {
  const auto axes = weight.dimensions();
  const auto* steps = reinterpret_cast<const uint8_t*>(weight.typed_data());
  return product_in_groups<EightBits>(pool, x, {steps, scale.typed_data(), nullptr, axes[0], axes[1], axes[2]}, result);
}

// weight [N, G, 16], scale and least [N, G]
ffi::Error int4_groups_product(ffi::ThreadPool pool, Array x, ffi::Buffer<ffi::U8> weight, Halves16 scale,
                               Halves16 least, Result result) {
  const auto axes = weight.dimensions();
  const Groups groups{weight.typed_data(), scale.typed_data(), least.typed_data(), axes[0], axes[1], axes[2]};
  return product_in_groups<FourBits>(pool, x, groups, result);
}

// queries [B, N, T, H], keys and values [B, K, T, H], starts [B], caches of [K, S, H] -> [B, N, T, H], caches
ffi::Error cached_attention(ffi::ThreadPool pool, Array queries, Array keys, Array values, Numbers starts,
                            ffi::RemainingArgs caches, Result result, ffi::RemainingRets written, float scale,
                            float cap) {
  const auto q = queries.dimensions(), k = keys.dimensions();
  const Shape shape{q[1], k[1], q[3], scale, cap};
  const int64_t tokens = q[2], by_head = tokens * shape.width;
  auto sequences = sequences_of(caches, written, starts.typed_data(), tokens);
  if (!sequences.has_value()) return sequences.error();
  const auto caches_of = [&](const Array& fresh, int64_t b) {
    return Heads<const float>{fresh.typed_data() + b * shape.kv_heads * by_head, by_head, shape.width};
  };
  Queries from;
  Outputs to;
  for (int64_t b = 0; b < q[0]; ++b) {
    const Sequence& sequence = sequences->at(b);
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      append(shape, sequence, caches_of(keys, b), head, sequence.keys);
      append(shape, sequence, caches_of(values, b), head, sequence.values);
    }
    from.push_back({queries.typed_data() + b * shape.heads * by_head, by_head, shape.width});
    to.push_back({result->typed_data() + b * shape.heads * by_head, by_head, shape.width});
  }
  Team team(pool);
  attention(team, shape, *sequences, from, to);
  return ffi::Error::Success();
}

// A whole layer: x [B, T, D] -> the same after attention and feed-forward; cos and sin [B or 1, T, pairs].
ffi::Error decoder_layer(ffi::ThreadPool pool, Array x, Array attention_norm, Bytes inputs, Array inputs_scale,
                         Bytes output, Array output_scale, Array feed_norm, Bytes up, Array up_scale, Bytes down,
                         Array down_scale, Array cos, Array sin, Numbers starts, ffi::RemainingArgs caches,
                         Result result, ffi::RemainingRets written, float epsilon, float scale, float cap) {
  const auto axes = x.dimensions();
  const int64_t B = axes[0], T = axes[1], D = axes[2], R = B * T;
  const Weight w_inputs = weight_of(inputs, inputs_scale), w_output = weight_of(output, output_scale);
  const Weight w_up = weight_of(up, up_scale), w_down = weight_of(down, down_scale);
  if (R > kMostRows) return wrong("too many rows");
  auto sequences = sequences_of(caches, written, starts.typed_data(), T);
  if (!sequences.has_value()) return sequences.error();
  const auto cache = caches.get<Array>(0)->dimensions();
  const int64_t H = cache[2], F = w_down.inputs;
  const Shape shape{w_output.inputs / H, cache[0], H, scale, cap};
  const int64_t N = w_output.inputs, both = w_inputs.outputs;

  Scratch& own = scratch();
  own.projected.resize(R * both);
  own.mixed.resize(R * N);
  own.between.resize(R * D);
  own.gated.resize(R * F);
  float *projected = own.projected.data(), *between = own.between.data(), *gated = own.gated.data();
  Team team(pool);

  round_rows(team, own.rounded, R, D, [&](int64_t row, float* room) {
    return norm(x.typed_data() + row * D, attention_norm.typed_data(), epsilon, D, room);
  });
  product(team, own.rounded, w_inputs, [&](int64_t row, int64_t begin, int64_t count, const float* found) {
    std::copy_n(found, count, projected + row * both + begin);
  });

  Queries from;
  Outputs to;
  for (int64_t b = 0; b < B; ++b) {
    from.push_back({projected + b * T * both, H, both});
    to.push_back({own.mixed.data() + b * T * N, H, N});
  }
  const int64_t turned = shape.heads + shape.kv_heads, each = turned + shape.kv_heads, pairs = cos.dimensions()[2];
  const auto settle = [&](int64_t b, int64_t head) {
    const Heads<float> heads{projected + b * T * both, H, both};
    const int64_t angles = cos.dimensions()[0] == 1 ? 0 : b * T * pairs;
    const Sequence& sequence = sequences->at(b);
    if (head < turned) rotate(heads, head, T, pairs, cos.typed_data() + angles, sin.typed_data() + angles);
    if (head >= turned) {
      append(shape, sequence, {heads.at(turned, 0), H, both}, head - turned, sequence.values);
    } else if (head >= shape.heads) {
      append(shape, sequence, {heads.at(shape.heads, 0), H, both}, head - shape.heads, sequence.keys);
    }
  };
  team.run(static_cast<uint32_t>(B), [&](uint32_t b) {
    for (int64_t head = 0; head < each; ++head) settle(b, head);
  });
  attention(team, shape, *sequences, from, to);

  round_array(team, own.rounded, R, N, own.mixed.data());
  product(team, own.rounded, w_output, [&](int64_t row, int64_t begin, int64_t count, const float* found) {
    const float* before = x.typed_data() + row * D + begin;
    for (int64_t n = 0; n < count; ++n) between[row * D + begin + n] = before[n] + found[n];
  });

  round_rows(team, own.rounded, R, D, [&](int64_t row, float* room) {
    return norm(between + row * D, feed_norm.typed_data(), epsilon, D, room);
  });
  // Gate and value of one output in one part, so that they need not wait for one another.
  const Weight w_gate{w_up.values, w_up.scale, F, D}, w_value{w_up.values + F * D, w_up.scale + F, F, D};
  team.run(w_gate.parts(own.rounded), [&](uint32_t part) {
    const int64_t block = w_gate.block(own.rounded), begin = part * block;
    const int64_t count = std::min(block, F - begin), stride = team.threads() * block;
    multiply(own.rounded, w_gate, begin, count, stride, [&](int64_t row, const float* found) {
      float* at = gated + row * F + begin;
      for (int64_t n = 0; n < count; n += kLanes) store(at + n, silu(load(found + n, count - n)), count - n);
    });
    multiply(own.rounded, w_value, begin, count, stride, [&](int64_t row, const float* found) {
      float* at = gated + row * F + begin;
      for (int64_t n = 0; n < count; ++n) at[n] *= found[n];
    });
  });

  round_array(team, own.rounded, R, F, gated);
  product(team, own.rounded, w_down, [&](int64_t row, int64_t begin, int64_t count, const float* found) {
    float* at = result->typed_data() + row * D + begin;
    for (int64_t n = 0; n < count; ++n) at[n] = between[row * D + begin + n] + found[n];
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace capibara

// Rows of a step up to which these are faster than XLA's own products.
extern "C" int64_t capibara_most_rows() { return capibara::kMostRows; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(capibara_int8_product, capibara::int8_product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Bytes>()
                                  .Arg<capibara::Array>()
                                  .Ret<capibara::Array>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(capibara_int8_groups_product, capibara::int8_groups_product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Bytes>()
                                  .Arg<capibara::Halves16>()
                                  .Ret<capibara::Array>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(capibara_int4_groups_product, capibara::int4_groups_product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<capibara::Array>()
                                  .Arg<ffi::Buffer<ffi::U8>>()
                                  .Arg<capibara::Halves16>()
                                  .Arg<capibara::Halves16>()
                                  .Ret<capibara::Array>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(capibara_cached_attention, capibara::cached_attention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Numbers>()
                                  .RemainingArgs()
                                  .Ret<capibara::Array>()
                                  .RemainingRets()
                                  .Attr<float>("scale")
                                  .Attr<float>("cap"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(capibara_decoder_layer, capibara::decoder_layer,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Bytes>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Bytes>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Bytes>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Bytes>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Array>()
                                  .Arg<capibara::Numbers>()
                                  .RemainingArgs()
                                  .Ret<capibara::Array>()
                                  .RemainingRets()
                                  .Attr<float>("epsilon")
                                  .Attr<float>("scale")
                                  .Attr<float>("cap"));

// PQCache with the dumped centres.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/io/npy.hpp"
#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"
#include "tests/golden/hub_injected.hpp"

namespace attnlab::golden {
namespace {

/// A step of a case: our session with the dumped centres, the codes of both sides, and distances in double.
class Quantised {
 public:
  /// Centres are in force for all of the first `prompt` keys; later ones are appended.
  Quantised(const std::string& name, int step, int64_t prompt)
      : golden(name, step), ours(golden, golden.stages()) {
    groups = golden.parameter("pq_cache", "pq_group_factor").get<int64_t>();
    capacity = int64_t{1} << golden.parameter("pq_cache", "pq_bits").get<int64_t>();
    offset = golden.parameter("pq_cache", "init_offset").get<int64_t>();
    ip = golden.parameter("pq_cache", "metric") == "ip";
    sub_dim = golden.shape().head_dim / groups;
    point_dim = sub_dim + (ip ? 1 : 0);
    centres = dumped_floats(golden, "centroids.npy");
    dumped_codes = dumped_integers(golden, "codebook.npy");
    if (ip) phi = dumped_floats(golden, "ip2l2_phi.npy");
    ours.session().append(prompt);
    for (int64_t head = 0; head < golden.shape().kv_heads; ++head) inject(head);
    ours.session().truncate(0);
    ours.session().append(prompt);
    ours.session().append(golden.shape().keys);
  }

  int32_t our_code(int64_t head, int64_t key, int64_t group) const {
    return ours.column<uint8_t>(head, "codes")[static_cast<size_t>(key * groups + group)];
  }
  /// [1, keys - offset, KV heads, groups]
  int32_t dumped_code(int64_t head, int64_t key, int64_t group) const {
    const int64_t record = (key - offset) * golden.shape().kv_heads + head;
    return dumped_codes[static_cast<size_t>(record * groups + group)];
  }
  float centre(int64_t head, int64_t group, int64_t code, int64_t d) const {
    const int64_t record = (head * groups + group) * capacity + code;
    return centres[static_cast<size_t>(record * point_dim + d)];
  }
  /// Squared distance of a key's sub-vector to a centre. For ip, with the channel of keys or that of queries.
  double distance(int64_t head, int64_t key, int64_t group, int64_t code, bool as_query = false) const {
    const float* x = golden.inputs().at("k").values<float>().data() +
                     (head * golden.shape().keys + key) * golden.shape().head_dim + group * sub_dim;
    double sum = 0, norm = 0;
    const auto square = [](double value) { return value * value; };
    for (int64_t d = 0; d < sub_dim; ++d) {
      sum += square(double{x[d]} - double{centre(head, group, code, d)});
      norm += square(double{x[d]});
    }
    if (ip) {
      const double room = double{phi[static_cast<size_t>(head * groups + group)]} - norm;
      const double channel = as_query ? 0 : std::sqrt(std::max(0.0, room));
      sum += square(channel - double{centre(head, group, code, sub_dim)});
    }
    return sum;
  }
  int32_t nearest(int64_t head, int64_t key, int64_t group, bool as_query) const {
    int32_t best = 0;
    for (int32_t code = 1; code < capacity; ++code) {
      if (distance(head, key, group, code, as_query) < distance(head, key, group, best, as_query))
        best = code;
    }
    return best;
  }
  /// Calls body(head, key, group) for keys [begin, end).
  template <class Body>
  void for_each_code(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t head = 0; head < golden.shape().kv_heads; ++head) {
      for (int64_t key = begin; key < end; ++key) {
        for (int64_t group = 0; group < groups; ++group) body(head, key, group);
      }
    }
  }

  /// With the reference's codes: its scores, which lack the scale, and its masks and outputs where no tie
  /// decides.
  void expect_results_of_dumped_codes() {
    for_each_code(offset, golden.shape().keys, [&](int64_t head, int64_t key, int64_t group) {
      ours.column<uint8_t>(head, "codes")[static_cast<size_t>(key * groups + group)] =
          static_cast<uint8_t>(dumped_code(head, key, group));
    });
    Plane expected = Plane::read(golden.result("scores.npy"));
    for (float& score : expected.values) score *= static_cast<float>(golden.scale());
    EXPECT_TRUE(close(expected, ours.scores(offset)));

    const Outcome outcome = ours.attend();
    EXPECT_TRUE(lawful(golden, outcome));
    const auto unique = io::read_npy(golden.result("topk_unique_rows.npy"));
    const Plane mask = golden.mask(), output = golden.output();
    int64_t compared = 0;
    for (int64_t row = 0; row < mask.rows(); ++row) {
      if (unique.values<uint8_t>()[static_cast<size_t>(row)] == 0) continue;
      ++compared;
      EXPECT_TRUE(std::ranges::equal(mask.row(row), outcome.mask.row(row))) << "row " << row;
      for (int64_t d = 0; d < output.columns; ++d) {
        const auto i = static_cast<size_t>(d);
        EXPECT_NEAR(double{output.row(row)[i]}, double{outcome.output.row(row)[i]}, 2e-5) << "row " << row;
      }
    }
    EXPECT_GT(compared, 0);
  }

  HubCase golden;
  Injected ours;
  int64_t groups = 0, capacity = 0, offset = 0, sub_dim = 0, point_dim = 0;
  bool ip = false;

 private:
  void inject(int64_t head) {
    const auto column = ours.column<float>(head, "centroids");
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t d = 0; d < point_dim; ++d) {
        for (int64_t code = 0; code < capacity; ++code) {
          column[static_cast<size_t>((group * point_dim + d) * capacity + code)] =
              centre(head, group, code, d);
        }
      }
      const auto at = static_cast<size_t>(group);
      ours.column<int32_t>(head, "centre_count")[at] = static_cast<int32_t>(capacity);
      if (ip) ours.column<float>(head, "phi")[at] = phi[static_cast<size_t>(head * groups + group)];
    }
  }

  std::vector<float> centres, phi;
  std::vector<int32_t> dumped_codes;
};

/// Keys of the prompt, and steps, of a case.
int64_t prompt_keys(const std::string& name) {
  return HubCase(name).shape().keys;
}
int steps(const std::string& name) {
  return std::filesystem::exists(hub_folder() / name / "step1_manifest.json") ? 2 : 1;
}

}  // namespace

void quantised_by_given_centres(const TableRow& row) {
  for (int step = 0; step < steps(row.name); ++step) {
    SCOPED_TRACE(step);
    Quantised q(row.name, step, prompt_keys(row.name));
    q.for_each_code(q.offset, q.golden.shape().keys, [&](int64_t head, int64_t key, int64_t group) {
      EXPECT_EQ(q.our_code(head, key, group), q.dumped_code(head, key, group))
          << "head " << head << ", key " << key << ", sub-vector " << group;
    });
    q.expect_results_of_dumped_codes();
  }
}

void codes_of_final_centres(const TableRow& row) {
  Quantised q(row.name, 0, prompt_keys(row.name));
  int64_t lagging = 0;
  q.for_each_code(q.offset, q.golden.shape().keys, [&](int64_t head, int64_t key, int64_t group) {
    const int32_t ours = q.our_code(head, key, group), dumped = q.dumped_code(head, key, group);
    if (ours == dumped) return;
    ++lagging;
    EXPECT_LT(q.distance(head, key, group, ours), q.distance(head, key, group, dumped));
  });
  EXPECT_EQ(lagging, 3) << "codes that the last update of the centres made stale";
  q.expect_results_of_dumped_codes();
}

void appended_keys_are_keys(const TableRow& row) {
  const int64_t prompt = prompt_keys(row.name);
  for (int step = 0; step < steps(row.name); ++step) {
    SCOPED_TRACE(step);
    Quantised q(row.name, step, prompt);
    int64_t differing = 0;
    q.for_each_code(q.offset, q.golden.shape().keys, [&](int64_t head, int64_t key, int64_t group) {
      const int32_t ours = q.our_code(head, key, group), dumped = q.dumped_code(head, key, group);
      EXPECT_EQ(ours, q.nearest(head, key, group, false)) << "key " << key;
      EXPECT_EQ(dumped, q.nearest(head, key, group, key >= prompt)) << "key " << key;
      differing += ours != dumped ? 1 : 0;
    });
    EXPECT_EQ(differing > 0, step == 1);
    q.expect_results_of_dumped_codes();
  }
}

}  // namespace attnlab::golden

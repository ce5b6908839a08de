// Learned codes: better than random ones, the same whatever interrupts or parallelises the training.
#include "core/train/hash_trainer.hpp"

#include "core/base/parallel.hpp"
#include "core/data/workload.hpp"
#include "core/io/archive.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::train {
namespace {

std::unique_ptr<data::Source> power_law() {
  config::WorkloadSpec spec;
  spec.kind = "power_law";
  spec.layers = 2;
  spec.batch = 2;
  spec.query_heads = 4;
  spec.kv_heads = 2;
  spec.queries = 40;
  spec.keys = 120;
  spec.head_dim = 8;
  spec.value_dim = 1;
  return data::open_workload(spec);
}

HashOptions small_options() {
  HashOptions options;
  options.layers = 2;
  options.hidden = 8;
  options.bits = 8;
  options.top_k = {false, 6, 0};
  options.steps = 80;
  options.batch = 8;
  options.keys = 64;
  options.learning_rate = 0.01;
  options.seed = 5;
  options.scale = 1 / std::sqrt(8.0);
  options.source_layers = {0, 1};
  return options;
}

std::string bytes_of(const HashTraining& training) {
  io::TemporaryFolder folder;
  write_hash_weights(folder / "w.safetensors", training.weights);
  io::Json json;
  put_recall(training, json);
  return io::read_bytes(folder / "w.safetensors") + json.dump();
}

TEST(TrainHash, LearnedCodesRecallMoreThanRandomOnes) {
  io::Json summary;
  put_recall(train_hash(*power_law(), small_options(), {}), summary);
  EXPECT_GT(summary["learned"].get<double>(), summary["random"].get<double>() + 0.2) << summary.dump(1);
  EXPECT_LE(summary["learned"].get<double>(), 1);
  EXPECT_GE(summary["random"].get<double>(), 0);
  EXPECT_EQ(summary["layers"][1]["heads"].size(), 2u);
  // 2 sequences, 2 query heads of the group, the last fifth of 40 queries.
  EXPECT_EQ(summary["layers"][0]["heads"][0]["queries"], 32);
}

TEST(TrainHash, ThreadsChangeNothing) {
  HashOptions options = small_options();
  options.steps = 15;
  std::string first;
  for (int threads : {1, 3}) {
    const base::ThreadLimit limit(threads);
    const std::string bytes = bytes_of(train_hash(*power_law(), options, {}));
    if (threads == 1) first = bytes;
    EXPECT_TRUE(bytes == first);
  }
  options.seed = 6;
  EXPECT_FALSE(bytes_of(train_hash(*power_law(), options, {})) == first) << "another seed, other weights";
}

TEST(TrainHash, AResumedTrainingEndsInTheSameBytes) {
  io::TemporaryFolder folder;
  HashOptions options = small_options();
  options.steps = 20;
  options.per_query_head = true;
  const std::string whole = bytes_of(train_hash(*power_law(), options, {}));
  // Stopped in the first layer, in the second, and before any step.
  for (int stop_after : {0, 2, 6}) {
    int polls = 0;
    HashRun run;
    run.checkpoint = folder / "state.checkpoint";
    run.cancelled = [&] { return polls++ == stop_after; };
    try {
      train_hash(*power_law(), options, run);
      FAIL() << "not interrupted";
    } catch (const base::UserError& error) {
      EXPECT_EQ(error.exit(), base::Exit::interrupted);
    }
    ASSERT_TRUE(std::filesystem::exists(run.checkpoint));
    run.cancelled = {};
    run.resume = true;
    EXPECT_TRUE(bytes_of(train_hash(*power_law(), options, run)) == whole) << stop_after;
    EXPECT_EQ(folder.file_count(), 0u) << "the checkpoint is removed at the end";
  }
}

TEST(TrainHash, ACheckpointOfAnotherTrainingIsRefused) {
  io::TemporaryFolder folder;
  HashRun run;
  run.checkpoint = folder / "state.checkpoint";
  run.cancelled = [] { return true; };
  EXPECT_NE(io::refusal([&] { train_hash(*power_law(), small_options(), run); }), "");
  run.resume = true;
  HashOptions other = small_options();
  other.learning_rate *= 2;
  EXPECT_NE(io::refusal([&] { train_hash(*power_law(), other, run); }).find("of another training"),
            std::string::npos);
  io::write_bytes(run.checkpoint, io::read_bytes(run.checkpoint).substr(0, 700));
  EXPECT_NE(io::refusal([&] { train_hash(*power_law(), small_options(), run); }), "");
}

TEST(TrainHash, NeedsQueriesThatSeeMoreThanTheTopK) {
  HashOptions options = small_options();
  options.top_k = {false, 500, 0};
  EXPECT_NE(io::refusal([&] { train_hash(*power_law(), options, {}); }).find("--top-k"), std::string::npos);
}

TEST(TrainHash, WritesTheDocumentedLayout) {
  io::TemporaryFolder folder;
  HashOptions options = small_options();
  options.steps = 1;
  options.source_layers = {1};
  write_hash_weights(folder / "w.safetensors", train_hash(*power_law(), options, {}).weights);
  const auto file = io::Archive::open(folder / "w.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"layers.1.query.0.weight", "layers.1.query.0.bias",
                                                    "layers.1.query.1.weight", "layers.1.query.1.bias",
                                                    "layers.1.key.0.weight", "layers.1.key.0.bias",
                                                    "layers.1.key.1.weight", "layers.1.key.1.bias"}));
  EXPECT_EQ(file.read("layers.1.key.0.weight").shape(), (tensor::Shape{2, 8, 8}));
  EXPECT_EQ(file.read("layers.1.query.1.bias").shape(), (tensor::Shape{2, 8}));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "attnlab.hash_weights/1"},
                                                                 {"layers", "1"},
                                                                 {"per", "kv_head"},
                                                                 {"mlp_layers", "2"},
                                                                 {"activation", "silu"}}));
}

TEST(TrainHash, LargestTakesTiesFromTheFront) {
  const float hidden = -std::numeric_limits<float>::infinity();
  const std::vector<float> values = {1, 3, hidden, 3, 1, 3};
  EXPECT_EQ(largest(values, 2), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(largest(values, 4), (std::vector<int32_t>{0, 1, 3, 5}));
  EXPECT_EQ(largest(values, 9), (std::vector<int32_t>{0, 1, 3, 4, 5}));
}

TEST(HashCode, SignOfZeroIsPlus) {
  const NetShape shape{1, 1, 1, 65, Activation::silu};
  std::vector<float> mlp(130, 0.0f);
  mlp[0] = 1;
  mlp[64] = -1;
  EXPECT_EQ(hash_code(shape, mlp, std::vector<float>{2}), (std::vector<uint64_t>{~uint64_t{0}, 0}));
  EXPECT_EQ(hash_code(shape, mlp, std::vector<float>{-2}), (std::vector<uint64_t>{~uint64_t{0} - 1, 1}));
  EXPECT_EQ(hamming_distance(std::vector<uint64_t>{5, 1}, std::vector<uint64_t>{6, 0}), 3);
}

}  // namespace
}  // namespace attnlab::train

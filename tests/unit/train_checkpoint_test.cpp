// Checkpoints: what is saved comes back; damaged files and those of other models are refused by name.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "core/config/train_plan.hpp"
#include "core/io/safetensors.hpp"
#include "core/train/checkpoint.hpp"
#include "core/train/study.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::train {
namespace {

namespace fs = std::filesystem;
using io::Json;

/// A config of a model of one layer, with changes.
config::Document document_of(const Json& changes) {
  Json config = {
      {"model", {{"layers", 1}, {"embed_dim", 16}, {"query_heads", 2}, {"block", 16}}},
      {"attention", {{"scheme", "mha"}}},
      {"task", {{"generated", "recall"}, {"pairs", 3}, {"queries", 3}, {"keys", 6}, {"values", 4}}},
      {"train", {{"steps", 4}, {"batch", 2}, {"warmup", 1}}}};
  config.merge_patch(changes);
  config::Document document;
  for (const auto& [key, value] : config.items()) document.set("/" + key, value, {"test", "."});
  return document;
}

struct Made {
  config::Document document;
  Study study;

  /// `changes`: JSON merged into the config.
  explicit Made(const char* changes = "{}") : document(document_of(Json::parse(changes))) {
    study = make_study(config::resolve_training(document, test::catalog()), test::catalog(), document);
  }
  CheckpointInfo info(int64_t steps) const {
    return {config::to_json(study.plan, test::catalog()), data::Tokeniser::bytes(),
            study.source->vocabulary_size(), steps};
  }
};

class TrainCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "attnlab_checkpoint_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }
  std::string path(const char* name) const { return (folder / name).string(); }

  /// What is said of reading a checkpoint into this model.
  static std::string refusal(const std::string& file, Made& into) {
    try {
      const Checkpoint checkpoint(file);
      checkpoint.read_parameters(*into.study.model);
      checkpoint.read_optimiser(*into.study.model, {});
    } catch (const base::UserError& error) {
      return error.what();
    }
    return "accepted";
  }

  fs::path folder;
};

void expect_says(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
}

std::vector<std::byte> bytes_of(const graph::Array& x) {
  const graph::Array packed = x.packed();
  return {packed.data<std::byte>(), packed.data<std::byte>() + packed.bytes()};
}

TEST_F(TrainCheckpoint, WhatIsSavedComesBack) {
  Made made;
  Trainer trainer(*made.study.model, *made.study.source, options_of(made.study.plan));
  trainer.step();
  trainer.step();
  save_checkpoint(path("a"), *made.study.model, trainer.optimiser(), made.info(2));
  Made other(R"({"seed": 5})");
  const Checkpoint checkpoint(path("a"));
  EXPECT_EQ(checkpoint.info().steps, 2);
  EXPECT_EQ(checkpoint.info().vocabulary, 10);
  EXPECT_EQ(checkpoint.info().tokeniser, data::Tokeniser::bytes());
  EXPECT_EQ(checkpoint.info().config, config::to_json(made.study.plan, test::catalog()));
  checkpoint.read_parameters(*other.study.model);
  const AdamW optimiser = checkpoint.read_optimiser(*other.study.model, {});
  EXPECT_EQ(optimiser.steps(), 2);
  for (size_t i = 0; i < optimiser.first().size(); ++i) {
    EXPECT_EQ(bytes_of(other.study.model->parameters().all()[i].value),
              bytes_of(made.study.model->parameters().all()[i].value));
    EXPECT_EQ(bytes_of(optimiser.first()[i]), bytes_of(trainer.optimiser().first()[i]));
    EXPECT_EQ(bytes_of(optimiser.second()[i]), bytes_of(trainer.optimiser().second()[i]));
  }
}

TEST_F(TrainCheckpoint, OfAnotherArchitecture) {
  Made made;
  save_checkpoint(path("a"), *made.study.model, AdamW(made.study.model->parameters(), {}), made.info(0));
  Made wider(R"({"model": {"embed_dim": 32}})");
  expect_says(refusal(path("a"), wider), {"another model", "transformer.wte.weight", "[10, 16]", "[10, 32]"});
  Made deeper(R"({"model": {"layers": 2}})");
  expect_says(refusal(path("a"), deeper), {"another model", "lacks a tensor", "transformer.h.1."});
  Made other_scheme(R"({"attention": {"scheme": "mla"}})");
  expect_says(refusal(path("a"), other_scheme), {"another model", "attn.c_attn.weight"});
  Made same;
  EXPECT_EQ(refusal(path("a"), same), "accepted");
}

TEST_F(TrainCheckpoint, CutOff) {
  Made made;
  save_checkpoint(path("a"), *made.study.model, AdamW(made.study.model->parameters(), {}), made.info(0));
  const auto size = fs::file_size(path("a"));
  for (const uintmax_t bytes : {size - 1, size / 2, uintmax_t{100}, uintmax_t{7}, uintmax_t{0}}) {
    fs::copy_file(path("a"), path("cut"), fs::copy_options::overwrite_existing);
    fs::resize_file(path("cut"), bytes);
    expect_says(refusal(path("cut"), made), {path("cut").c_str()});
  }
}

TEST_F(TrainCheckpoint, WhatIsNoCheckpoint) {
  Made made;
  const tensor::Tensor zeros = tensor::Tensor::zeros(tensor::DType::f32, {2, 2});
  const std::pair<std::string, tensor::Tensor> tensors[] = {{"w", zeros}};
  io::write_safetensors(path("plain"), tensors);
  expect_says(refusal(path("plain"), made), {"is not a checkpoint", "attnlab train"});
  io::write_safetensors(path("newer"), tensors, {{"attnlab", R"({"format": "attnlab checkpoint 9"})"}});
  expect_says(refusal(path("newer"), made), {"another version", "attnlab checkpoint 9"});
  io::write_safetensors(path("odd"), tensors,
                        {{"attnlab", R"({"format": "attnlab checkpoint 1", "steps": "three"})"}});
  expect_says(refusal(path("odd"), made), {path("odd").c_str()});
}

TEST_F(TrainCheckpoint, ValuesThatAreNotFinite) {
  Made made;
  made.study.model->parameters().all()[1].value.mutable_data<float>()[3] = NAN;
  save_checkpoint(path("a"), *made.study.model, AdamW(made.study.model->parameters(), {}), made.info(0));
  Made other;
  expect_says(refusal(path("a"), other), {"not finite", "transformer.wpe.weight[3]"});
}

}  // namespace
}  // namespace attnlab::train

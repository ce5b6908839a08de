/* The boundary between the attnlab host and a plugin: C tables, valid C11 and C++20.
 *
 * Rules (docs/design/plugin-abi.md has the reasons):
 *  1. Only fixed-width integers, float, double, pointers, UTF-8 pointer + length, and structs that begin with
 *     `uint32_t struct_size`. Structs only grow at their end. Small records that come in arrays are marked FROZEN:
 *     they carry no size and never change.
 *  2. Nothing unwinds through a function pointer. A function that can fail returns an attnlab_status and fills the
 *     caller-owned attnlab_error. The side that allocates frees; no function hands over memory.
 *  3. Pointers in arguments are valid until the call returns, unless said otherwise.
 *  4. Thread contract of each slot: [main] one thread at a time; [any] any thread, concurrently on one instance.
 *     Instances are immutable after `create`, so select, score and forward are [any].
 *  5. A plugin creates no threads, reads no files or environment, prints nothing and leaves the FPU mode alone.
 *
 * Shapes: rows of a tile are query-major with the query heads of the KV head inside: row = query * group + head.
 * Strides are in elements. Keys are indexed from the start of the sequence. Logarithms are natural.
 * While the version is 0.x, host and plugin must agree on the minor version exactly.
 *
 * Plugin authors do not include this file: they include <attnlab/masker.hpp>, <attnlab/scorer.hpp> or
 * <attnlab/scheme.hpp>. */
#ifndef ATTNLAB_ABI_H_
#define ATTNLAB_ABI_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTNLAB_ABI_MAJOR 0
#define ATTNLAB_ABI_MINOR 2
#define ATTNLAB_MAGIC 0x4c4e5441u /* "ATNL" read as little-endian bytes */

typedef int32_t attnlab_status;
enum {
  ATTNLAB_OK = 0,
  ATTNLAB_INVALID_PARAMETER = 1, /* the user's value is wrong; `pointer` names it */
  ATTNLAB_FAILED = 2,            /* the method failed, e.g. an exception inside the plugin */
  ATTNLAB_CONTRACT = 3,          /* the plugin broke a rule of this file; set by the host's functions */
  ATTNLAB_CANCELLED = 4,
  ATTNLAB_UNSUPPORTED = 5
};

/* UTF-8 text, not terminated. FROZEN. */
typedef struct attnlab_text {
  const char* data;
  uint64_t size;
} attnlab_text;

/* Owned by the caller, filled by the callee when it returns something else than ATTNLAB_OK. Zero-terminated. */
typedef struct attnlab_error {
  uint32_t struct_size;
  int32_t code;
  char message[1000];
  char pointer[256]; /* JSON pointer of the offending parameter, relative to the stage, e.g. "/sink_size" */
} attnlab_error;

/* Keys [begin, end). FROZEN. */
typedef struct attnlab_range {
  int32_t begin;
  int32_t end;
} attnlab_range;

/* ---------------------------------------------------------------- parameters */

enum {
  ATTNLAB_BOOL = 1,
  ATTNLAB_INT = 2,
  ATTNLAB_REAL = 3,
  ATTNLAB_STRING = 4,
  ATTNLAB_ENUM = 5,              /* integer = index into the names, text = the name */
  ATTNLAB_PATH = 6,              /* text = absolute path, or the name of a host artifact */
  ATTNLAB_LIST = 7,              /* items of one type */
  ATTNLAB_PIPELINE = 8,          /* handle = a selector of the host, see attnlab_graph attribute "selector" */
  ATTNLAB_COUNT_OR_FRACTION = 9, /* integer > 0 = count; or real in (0, 1] with is_fraction = 1 */
  ATTNLAB_OFFSET = 10            /* the same with 0 allowed */
};

typedef struct attnlab_value {
  uint32_t struct_size;
  int32_t type;
  int64_t integer;
  double real;
  int32_t is_fraction;
  int32_t is_set; /* 0: the user gave nothing and there is no default */
  attnlab_text text;
  const struct attnlab_value* items;
  uint64_t item_count;
  void* handle;
} attnlab_value;

typedef struct attnlab_parameter {
  uint32_t struct_size;
  int32_t type;
  int32_t item_type; /* of LIST */
  int32_t required;  /* 1: no default, the user must give a value */
  attnlab_text key;
  attnlab_text unit;
  attnlab_text doc;   /* one line */
  attnlab_text since; /* plugin version that introduced it */
  double minimum;     /* INT and REAL; -inf and inf when open-ended */
  double maximum;
  int32_t minimum_open; /* 1: the bound itself is not allowed */
  int32_t maximum_open;
  int32_t log_scale; /* a sweep should step in ratios */
  int32_t reserved;
  attnlab_value default_value;
  const attnlab_text* enum_names;
  const attnlab_text* enum_docs;
  uint64_t enum_count;
  const attnlab_value* sweep; /* values worth trying */
  uint64_t sweep_count;
} attnlab_parameter;

/* ---------------------------------------------------------------- what the host offers */

typedef void (*attnlab_loop_body)(void* context, int64_t index);

enum { ATTNLAB_DEBUG = 0, ATTNLAB_INFO = 1, ATTNLAB_WARNING = 2 };

/* A tensor opened through the host; read-only, lives as long as the instance that opened it. */
typedef struct attnlab_tensor {
  uint32_t struct_size;
  int32_t dtype; /* ATTNLAB_F32 ... */
  int32_t rank;
  int32_t reserved;
  const void* data;
  int64_t shape[8];
  int64_t stride[8];
} attnlab_tensor;
enum { ATTNLAB_F32 = 1, ATTNLAB_F64 = 2, ATTNLAB_I32 = 3, ATTNLAB_I64 = 4, ATTNLAB_U8 = 5, ATTNLAB_U64 = 6 };

/* Append-only. One table per plugin instance; valid until the instance is destroyed. Every slot is [any]. */
typedef struct attnlab_host {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t reserved;
  void* context;
  /* Calls body(body_context, i) for i in [0, count) on the host's threads, in any order; returns when all are done. */
  void (*parallel_for)(void* context, int64_t count, attnlab_loop_body body, void* body_context);
  void (*log)(void* context, int32_t level, attnlab_text message);
  /* A named figure of this instance; the host reports mean, p95 and maximum. */
  void (*metric)(void* context, attnlab_text name, double value);
  /* 1 when the user asked to stop: long loops poll it and return ATTNLAB_CANCELLED. */
  int32_t (*cancelled)(void* context);
  /* Opens tensor `name` of the weight file that a PATH parameter holds. The host reads files, the plugin gets views. */
  attnlab_status (*artifact)(void* context, attnlab_text path, attnlab_text name, attnlab_tensor* tensor,
                             attnlab_error* error);
  /* Interfaces by id: "attnlab.graph/1" (attnlab_graph), "attnlab.kernels/1" (attnlab_kernels); NULL when unknown. */
  const void* (*query)(void* context, attnlab_text id);
} attnlab_host;

/* ---------------------------------------------------------------- key-side state, owned by the host */

/* Extents of the problem that an instance will see; one (batch, KV head) of one layer at a time. */
typedef struct attnlab_geometry {
  uint32_t struct_size;
  int32_t layer;
  int64_t batch;
  int64_t query_heads;
  int64_t kv_heads;
  int64_t group; /* query heads per KV head */
  int64_t head_dim;
  int64_t value_dim;
} attnlab_geometry;

enum { ATTNLAB_PER_TOKEN = 1, ATTNLAB_PER_PAGE = 2, ATTNLAB_PER_SEQUENCE = 3 };
/* What a record holds at first. ATTNLAB_NORMAL is for float32 columns per sequence: independent draws from N(0, 1),
 * keyed by (seed, stage, layer, batch, KV head), there before anything is encoded: random projections. */
enum { ATTNLAB_ZEROS = 0, ATTNLAB_NORMAL = 1 };

/* One declared column: `width` elements of `dtype` for each token, page of `page_size` keys, or sequence. FROZEN. */
typedef struct attnlab_column_spec {
  attnlab_text name;
  int32_t per;
  int32_t dtype;
  int64_t width;
  int64_t page_size; /* 1 for PER_TOKEN, 0 for PER_SEQUENCE */
  int32_t initial;   /* ATTNLAB_ZEROS ... */
  int32_t reserved;
} attnlab_column_spec;

/* Filled by the plugin through `declare`; copies the spec. */
typedef struct attnlab_column_sink {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;
  attnlab_status (*declare)(void* context, const attnlab_column_spec* spec, attnlab_error* error);
} attnlab_column_sink;

/* Storage of one column: record r at data + r * width elements. FROZEN. */
typedef struct attnlab_column {
  attnlab_text name;
  void* data;
  int64_t record_count;
  int64_t width;
} attnlab_column;

/* Columns of one (layer, batch, KV head), in the order of declaration. */
typedef struct attnlab_columns {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t count;
  const attnlab_column* columns;
} attnlab_columns;

/* Keys [begin, end) of one KV head. `key` and `value` point at key 0 of the sequence. `begin` lies on a page boundary
 * of every declared page size, so that a page is always encoded from its first key; the last page may be partial. */
typedef struct attnlab_key_block {
  uint32_t struct_size;
  int32_t layer;
  int64_t batch;
  int64_t kv_head;
  int64_t begin;
  int64_t end;
  int64_t head_dim;
  int64_t value_dim;
  const float* key;
  int64_t key_stride;
  const float* value;
  int64_t value_stride;
} attnlab_key_block;

/* The whole prompt at its end: the only moment at which a method may look at all keys at once. A prompt may be empty. */
typedef struct attnlab_prompt {
  uint32_t struct_size;
  uint32_t reserved;
  attnlab_key_block keys; /* begin = 0, end = prompt length */
  const float* query;     /* last queries of the prompt, [query_count * group, head_dim], query-major */
  int64_t query_count;
  int64_t query_stride;
  int64_t group;
  uint64_t rng_key; /* keyed by (seed, stage, layer, batch, KV head) */
  float scale;
  float reserved_float;
} attnlab_prompt;

/* What a step's attention looked like, reduced over its rows in fixed order. Once per chunk or decoded token. */
typedef struct attnlab_feedback {
  uint32_t struct_size;
  int32_t layer;
  int64_t batch;
  int64_t kv_head;
  int64_t key_count;
  const float* mass; /* [key_count] attention mass that each key received, summed over the rows of the step */
  int64_t row_count;
} attnlab_feedback;

/* ---------------------------------------------------------------- selection */

/* A block of query rows of one (batch, KV head). */
typedef struct attnlab_tile {
  uint32_t struct_size;
  int32_t layer;
  int64_t batch;
  int64_t kv_head;
  int64_t group;
  int64_t row_count; /* a multiple of group */
  int64_t key_count; /* no row of this tile sees a key at or after it; not the length of the sequence */
  int64_t head_dim;
  int64_t value_dim;
  float scale;
  int32_t shared_visibility; /* 1: the rows of a query see the same keys */
  const float* query;        /* [row_count, head_dim] */
  int64_t query_stride;
  const float* key; /* key 0 of the sequence */
  int64_t key_stride;
  const float* value;
  int64_t value_stride;
  const int64_t* position;        /* [row_count] position of the row's query; keys after it are not visible */
  const int64_t* visible_end;     /* [row_count] no key at or after it is visible */
  const int64_t* visible_count;   /* [row_count] visible keys; visible_end unless a bias hides some */
  const uint64_t* const* hidden;  /* [row_count] bitset of hidden keys below visible_end (bit set = hidden), or NULL */
  const float* const* bias;       /* [row_count] additive bias by key, or NULL */
  const attnlab_columns* columns; /* NULL when none were declared */
  void* state;                    /* the method's opaque state, or NULL */
  uint64_t rng_key;               /* keyed by (seed, stage, layer, batch) */
  const uint64_t* rng_stream;     /* [row_count] keyed by (query head, position): second Philox input */
  void* context;
  /* Exact logits [row_count, key_count] (scale * q.k + bias), computed once per tile on first use; *stride is the row
   * distance. Entries that are not visible are -inf. NULL when there is no memory. */
  const float* (*logits)(void* context, int64_t* stride);
  /* Exact logits of some keys of one row. */
  void (*gather_logits)(void* context, int64_t row, int64_t count, const int32_t* ids, float* out);
  /* Scratch memory for this call, 64-byte aligned, freed by the host when the call returns. NULL when there is none. */
  void* (*scratch)(void* context, uint64_t bytes);
  /* Search cost: bytes of columns, state, keys and values that the method read to choose. The SDK counts what goes
   * through it; the host counts the exact logits that it computes. */
  void (*count_read)(void* context, uint64_t bytes);
} attnlab_tile;

/* What the stages before this one selected for one row. Runs and ids ascending and disjoint. */
typedef struct attnlab_row_prior {
  uint32_t struct_size;
  int32_t nothing; /* 1: no stage has selected anything for this row */
  const attnlab_range* runs; /* deterministic */
  int64_t run_count;
  const int32_t* ids; /* deterministic */
  int64_t id_count;
  const int32_t* sampled_ids;
  const float* sampled_log_weight; /* -log p of each */
  int64_t sampled_count;
} attnlab_row_prior;

typedef struct attnlab_prior {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;
  void (*row)(void* context, int64_t row, attnlab_row_prior* prior);
  /* Visible keys that are not deterministically active (inside the retained set, if an earlier stage declared one), as
   * ascending disjoint runs. Returns how many keys they hold. The memory lives until the next call of `candidates`. */
  int64_t (*candidates)(void* context, int64_t row, const attnlab_range** runs, int64_t* run_count);
} attnlab_prior;

enum { ATTNLAB_UNSORTED = 1 }; /* commit flag: the ids are in no order; the host sorts them */

/* How a masker emits entries. Rows [row, row + row_count) share what is written. The host checks bounds, order and
 * finiteness, clips to the visible keys and merges; a refused call returns ATTNLAB_CONTRACT. */
typedef struct attnlab_row_writer {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;
  attnlab_status (*ranges)(void* context, int64_t row, int64_t row_count, int64_t count, const attnlab_range* ranges);
  /* Space for `count` ids and, when asked for, their log weights -log p >= 0; fill it, then commit the first n. */
  attnlab_status (*reserve)(void* context, int64_t row, int64_t row_count, int64_t count, int32_t with_log_weight,
                            int32_t** ids, float** log_weight);
  attnlab_status (*commit)(void* context, int64_t count, int32_t flags);
  attnlab_status (*pages)(void* context, int64_t row, int64_t row_count, int64_t page_size, int64_t count,
                          const int32_t* pages);
  /* Every visible key. */
  attnlab_status (*full)(void* context, int64_t row, int64_t row_count);
  /* Zeroed inclusion probabilities [key_count] to be filled before the next call: 0 = out, 1 = in, between = sampled. */
  attnlab_status (*dense)(void* context, int64_t row, int64_t row_count, float** probability);
  /* Reserved: virtual (key, value) rows with a bias, such as centroids. NULL in this version. */
  attnlab_status (*virtual_rows)(void* context, int64_t row, int64_t row_count, int64_t count, const float* key,
                                 const float* value, const float* bias);
} attnlab_row_writer;

/* Where a scorer writes: one score for each unit (key, or page of `page_size` keys) of each row, larger is better.
 * -inf excludes. Instead of filling `values` a scorer may set `alias` to memory that outlives the call (the tile's
 * logits). */
typedef struct attnlab_scores {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t page_size; /* as the method's `page_size` slot said */
  int64_t unit_count;
  float* values; /* [row_count, unit_count], rows `stride` apart */
  int64_t stride;
  const float* alias;
  int64_t alias_stride;
} attnlab_scores;

/* Opaque key-side state of one (layer, batch, KV head), for methods that columns do not fit (graphs, buckets). */
typedef struct attnlab_state_table {
  uint32_t struct_size;
  uint32_t reserved;
  attnlab_status (*create)(const void* self, const attnlab_geometry* geometry, uint64_t rng_key, void** state,
                           attnlab_error* error);
  /* New keys; `columns` has their records encoded. */
  attnlab_status (*append)(const void* self, void* state, const attnlab_key_block* block,
                           const attnlab_columns* columns, attnlab_error* error);
  attnlab_status (*truncate)(const void* self, void* state, int64_t key_count, attnlab_error* error);
  attnlab_status (*fork)(const void* self, const void* state, void** copy, attnlab_error* error);
  uint64_t (*bytes)(const void* self, const void* state);
  void (*destroy)(const void* self, void* state);
} attnlab_state_table;

/* Maskers (slot `select`) and scorers (slot `score`): exactly one of the two is set. Optional slots may be NULL. */
typedef struct attnlab_masker_table {
  uint32_t struct_size;
  uint32_t reserved;
  /* `values` are in the order of the parameter table, validated and defaulted. [main] */
  attnlab_status (*create)(const attnlab_host* host, const attnlab_value* values, uint64_t value_count, void** self,
                           attnlab_error* error);
  void (*destroy)(void* self); /* [main] */
  /* optional: declares columns for a geometry; returns ATTNLAB_INVALID_PARAMETER when the parameters do not suit it
   * (a group size that does not divide head_dim). [main] */
  attnlab_status (*columns)(const void* self, const attnlab_geometry* geometry, const attnlab_column_sink* sink,
                            attnlab_error* error);
  /* Set when `columns` is. Pure: the token and page records that it writes depend on their keys and values and on the
   * sequence records alone. It leaves sequence records and the records that `feedback` writes as they are. [any] */
  attnlab_status (*encode)(const void* self, const attnlab_key_block* block, const attnlab_columns* columns,
                           attnlab_error* error);
  /* optional: once, when the prompt is complete and encoded; `state` as in attnlab_tile. Writes sequence records, and
   * token records that `encode` leaves alone; where others depend on sequence records, encodes prompt->keys again. A method that has this
   * slot is never asked to select or score before it. Truncating keeps sequence records, also below the prompt's end.
   * [any] */
  attnlab_status (*end_prompt)(const void* self, const attnlab_prompt* prompt, const attnlab_columns* columns,
                               void* state, attnlab_error* error);
  /* optional: after each appended chunk or decoded token; every row of a step sees the records from before it. Writes
   * token records that `encode` leaves alone (zero at first): truncating drops those of forgotten keys and keeps the
   * others as they are, forking copies them. [any] */
  attnlab_status (*feedback)(const void* self, const attnlab_feedback* feedback, const attnlab_columns* columns,
                             void* state, attnlab_error* error);
  attnlab_status (*select)(const void* self, const attnlab_tile* tile, const attnlab_prior* prior,
                           const attnlab_row_writer* out, attnlab_error* error); /* [any] */
  attnlab_status (*score)(const void* self, const attnlab_tile* tile, attnlab_scores* scores,
                          attnlab_error* error); /* [any] */
  int64_t (*page_size)(const void* self);        /* optional: unit of `score`; NULL means one key */
  const attnlab_state_table* state;              /* optional */
} attnlab_masker_table;

/* ---------------------------------------------------------------- schemes and their graph */

enum { ATTNLAB_REPORT_LOSS = 1, ATTNLAB_REPORT_INTERMEDIATE = 2, ATTNLAB_REPORT_METRIC = 3 };

typedef struct attnlab_node_ attnlab_node; /* a value of the host's differentiable graph, reference-counted */

enum {
  ATTNLAB_ATTRIBUTE_INT = 1, /* booleans too: 0 or 1 */
  ATTNLAB_ATTRIBUTE_REAL = 2,
  ATTNLAB_ATTRIBUTE_TEXT = 3,
  ATTNLAB_ATTRIBUTE_INTS = 4,
  ATTNLAB_ATTRIBUTE_HANDLE = 5 /* of a PIPELINE parameter; NULL: none */
};

/* A named argument of an op. FROZEN. */
typedef struct attnlab_attribute {
  attnlab_text name;
  int32_t type;
  int32_t reserved;
  int64_t integer;
  double real;
  attnlab_text text;
  const int64_t* integers;
  uint64_t integer_count;
  void* handle;
} attnlab_attribute;

/* An op defined by the plugin: forward on float32 or float64 buffers, gradient as a graph of ops. The graph copies the
 * struct and calls `destroy(context)` once, when the last node that needs it is gone: gradients are asked for after
 * the forward that applied the op has returned. Every slot is [any]. */
typedef struct attnlab_custom_op {
  uint32_t struct_size;
  uint32_t reserved;
  attnlab_text name;
  void* context;
  attnlab_status (*shape)(void* context, const attnlab_tensor* inputs, uint64_t count, attnlab_tensor* output,
                          attnlab_error* error);
  attnlab_status (*forward)(void* context, const attnlab_tensor* inputs, uint64_t count, const attnlab_tensor* output,
                            attnlab_error* error);
  attnlab_status (*gradient)(void* context, attnlab_node* const* inputs, uint64_t count, attnlab_node* output,
                             attnlab_node* output_gradient, attnlab_node** input_gradients, attnlab_error* error);
  void (*destroy)(void* context); /* optional */
} attnlab_custom_op;

/* "attnlab.graph/1". Ops are data: a new op needs no new slot (docs/design/plugin-abi.md lists them with their
 * attributes). Arguments are borrowed; returned nodes carry one reference. A NULL input is an optional operand left
 * out. Negative axes count from the end. Every slot is [any]; `retain` and `release` are atomic. */
typedef struct attnlab_graph {
  uint32_t struct_size;
  uint32_t reserved;
  int32_t (*resolve)(void* context, attnlab_text op); /* id of an op by name, or -1 */
  attnlab_status (*apply)(void* context, int32_t op, attnlab_node* const* inputs, uint64_t input_count,
                          const attnlab_attribute* attributes, uint64_t attribute_count, attnlab_node** outputs,
                          uint64_t output_count, attnlab_error* error);
  attnlab_status (*custom)(void* context, const attnlab_custom_op* op, attnlab_node* const* inputs,
                           uint64_t input_count, attnlab_node** output, attnlab_error* error);
  /* Gradients of sum(output * seed) by each of `by`: parameters, or results of the op "watch". Differentiable again.
   * seed NULL: ones. A node of `by` that the output does not depend on gets zeros. */
  attnlab_status (*grad)(void* context, attnlab_node* output, attnlab_node* seed, attnlab_node* const* by,
                         uint64_t count, attnlab_node** gradients, attnlab_error* error);
  /* Copies the elements, converted to the precision that the graph works in; integers stay integers. */
  attnlab_status (*constant)(void* context, const attnlab_tensor* tensor, attnlab_node** node, attnlab_error* error);
  /* A tensor that the scheme declared, of the layer that runs. */
  attnlab_status (*parameter)(void* context, attnlab_text name, attnlab_node** node, attnlab_error* error);
  /* Elements and extents, valid while the node is referenced. */
  attnlab_status (*view)(void* context, attnlab_node* node, attnlab_tensor* tensor, attnlab_error* error);
  void (*retain)(void* context, attnlab_node* node);
  void (*release)(void* context, attnlab_node* node);
  /* `kind`: ATTNLAB_REPORT_LOSS (a scalar that training adds to the loss) ...; retains what it keeps. */
  attnlab_status (*report)(void* context, int32_t kind, attnlab_text name, attnlab_node* node, attnlab_error* error);
  void* context;
} attnlab_graph;

/* Named values of a layer that outlive a step, owned by the host: bytes, fork, truncate and save are the host's. What
 * `append` built can be truncated to any position; what was `set` belongs to the position of its step, so that the
 * host truncates such a state only to a position of which it kept a copy. */
typedef struct attnlab_scheme_state {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;
  /* *node = NULL, and ATTNLAB_OK, for a name that has no value yet. */
  attnlab_status (*get)(void* context, attnlab_text name, attnlab_node** node, attnlab_error* error);
  attnlab_status (*set)(void* context, attnlab_text name, attnlab_node* node, attnlab_error* error);
  /* Appends along the token axis, the last but one, and returns the whole. */
  attnlab_status (*append)(void* context, attnlab_text name, attnlab_node* node, attnlab_node** whole,
                           attnlab_error* error);
} attnlab_scheme_state;

/* For `declare`, batch, tokens and past are 0 and `graph` is NULL. */
typedef struct attnlab_scheme_context {
  uint32_t struct_size;
  int32_t layer;
  int64_t batch;
  int64_t tokens; /* new positions in this call */
  int64_t past;   /* positions before them */
  int64_t embed_dim;
  int64_t query_heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t value_dim;
  int32_t causal;
  int32_t training;
  uint64_t rng_key; /* keyed by (seed, layer, training step) */
  const attnlab_graph* graph;
  double scale; /* of an operator's logits */
} attnlab_scheme_context;

/* What a scheme needs, told at construction. */
typedef struct attnlab_scheme_sink {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;
  /* "q", "k", "v" make an operator; "x" makes a layer; "x", "key", "value" a layer that may attend to another sequence,
   * whose key and value are NULL in self-attention. */
  attnlab_status (*input)(void* context, attnlab_text name, attnlab_error* error);
  /* init: "normal" (standard deviation init_scale), "zeros", "ones", "constant" (init_scale), "fan_in" (normal with
   * standard deviation init_scale / sqrt(last extent)); `residual` 1 when the parameter writes to the residual
   * stream. */
  attnlab_status (*parameter)(void* context, attnlab_text name, const int64_t* shape, uint64_t rank, attnlab_text init,
                              double init_scale, int32_t residual, attnlab_error* error);
} attnlab_scheme_sink;

/* Inputs: an operator's q [B, Hq, T, d], k [B, Hkv, T, d], v [B, Hkv, T, dv] and output [B, Hq, T, dv]; a layer's x and
 * output [B, T, embed_dim]. `create`, `destroy` and `declare` are [main], `forward` and `step` [any]. */
typedef struct attnlab_scheme_table {
  uint32_t struct_size;
  uint32_t reserved;
  attnlab_status (*create)(const attnlab_host* host, const attnlab_value* values, uint64_t value_count, void** self,
                           attnlab_error* error);
  void (*destroy)(void* self);
  attnlab_status (*declare)(const void* self, const attnlab_scheme_context* context, const attnlab_scheme_sink* sink,
                            attnlab_error* error);
  attnlab_status (*forward)(const void* self, const attnlab_scheme_context* context, attnlab_node* const* inputs,
                            uint64_t input_count, attnlab_node** output, attnlab_error* error);
  /* optional: n >= 1 new positions on state, the first call of a sequence with past = 0; the results equal those of
   * `forward` at these positions. Without it the host recomputes. */
  attnlab_status (*step)(const void* self, const attnlab_scheme_context* context, const attnlab_scheme_state* state,
                         attnlab_node* const* inputs, uint64_t input_count, attnlab_node** output,
                         attnlab_error* error);
} attnlab_scheme_table;

/* ---------------------------------------------------------------- kernels */

/* "attnlab.kernels/1": the loops that methods have in common, in vectors of the CPU that the host runs on. The work is done
 * on the calling thread, that of `gemm` perhaps on the host's others too. Results do not depend on how rows and keys are
 * split into calls. Nothing is counted as search cost: `count_read` is the caller's. Strides are in elements. Arguments
 * that are impossible whatever the data, such as negative extents, give ATTNLAB_CONTRACT; want of memory gives
 * ATTNLAB_FAILED. */

/* scores[r][j] = scale * query_r . key_j, or of key ids[j] when `ids` is set. */
typedef struct attnlab_dot {
  uint32_t struct_size;
  float scale;
  const float* query; /* [rows, width], rows `query_stride` apart */
  int64_t query_stride;
  int64_t rows;
  int64_t width;
  const float* key; /* keys `key_stride` apart */
  int64_t key_stride;
  int64_t keys;       /* keys, or ids when there are any */
  const int32_t* ids; /* or NULL */
  float* scores;      /* [rows, keys], rows `scores_stride` apart */
  int64_t scores_stride;
} attnlab_dot;

/* scores[r][j] = bits - 2 * (differing bits of query_r and code_j): codes whose bits stand for +1 and -1. Exact. Bits of
 * the last word beyond `bits` are equal in all codes. */
typedef struct attnlab_hamming {
  uint32_t struct_size;
  uint32_t reserved;
  const uint64_t* query; /* [rows, words], rows `query_stride` apart */
  int64_t query_stride;
  int64_t rows;
  int64_t words; /* at most 64 */
  int64_t bits;
  const uint64_t* code; /* [keys, words], keys `code_stride` apart */
  int64_t code_stride;
  int64_t keys;
  float* scores;
  int64_t scores_stride;
} attnlab_hamming;

/* scores[r][p] = sum over channels c of max(x_c lowest_c, x_c highest_c), x = scale * query_r: the least upper bound of
 * the logits of keys between the extremes, which are finite, lowest <= highest. */
typedef struct attnlab_interval {
  uint32_t struct_size;
  float scale;
  const float* query; /* [rows, head_dim], rows `query_stride` apart */
  int64_t query_stride;
  int64_t rows;
  int64_t head_dim;
  const float* extremes; /* [pages, 2, head_dim], lowest before highest, pages `extremes_stride` apart */
  int64_t extremes_stride;
  int64_t pages;
  float* scores;
  int64_t scores_stride;
} attnlab_interval;

/* scores[r][j] = sum over subspaces s, ascending, of table_r[s][code_j[s]]: plain float additions from 0 in this order. */
typedef struct attnlab_lut {
  uint32_t struct_size;
  int32_t code_type;  /* ATTNLAB_U8 or ATTNLAB_I32 */
  const float* table; /* [rows, subspaces, entries], rows `table_stride` apart */
  int64_t table_stride;
  int64_t rows;
  int64_t subspaces;
  int64_t entries;  /* codes are in [0, entries); the host does not check them */
  const void* code; /* [keys, subspaces], keys `code_stride` apart */
  int64_t code_stride;
  int64_t keys;
  float* scores;
  int64_t scores_stride;
} attnlab_lut;

/* c[i][j] = sum over l of a[i][l] b[l][j]; any order of axes by the strides of a and b. */
typedef struct attnlab_gemm {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t m;
  int64_t n;
  int64_t k;
  const float* a;
  int64_t a_row_stride;
  int64_t a_column_stride;
  const float* b;
  int64_t b_row_stride;
  int64_t b_column_stride;
  float* c; /* [m, n], rows `c_stride` apart; overlaps neither a nor b */
  int64_t c_stride;
} attnlab_gemm;

/* The k keys of `runs` with the largest scores, ascending; equal scores: the lower key first. */
typedef struct attnlab_top_k {
  uint32_t struct_size;
  uint32_t reserved;
  const float* scores;       /* indexed by key; not NaN */
  const attnlab_range* runs; /* ascending, disjoint */
  int64_t run_count;
  int64_t k;
  int32_t* ids;   /* room for k, or for the keys of `runs` if they are fewer */
  int64_t chosen; /* out: ids written */
} attnlab_top_k;

/* `count` keys of `runs`, drawn uniformly without replacement, ascending: Floyd's algorithm on the Philox stream
 * (rng_key, rng_stream) from its start, as <attnlab/sampling.hpp> draws them. */
typedef struct attnlab_sample {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t rng_key;
  uint64_t rng_stream;
  const attnlab_range* runs; /* ascending, disjoint */
  int64_t run_count;
  int64_t count; /* at most the keys of `runs` */
  int32_t* ids;  /* [count] */
} attnlab_sample;

/* Append-only. Lives as long as the host. Every slot is [any]. */
typedef struct attnlab_kernels {
  uint32_t struct_size;
  uint32_t reserved;
  attnlab_status (*dot)(const attnlab_dot* arguments);
  attnlab_status (*hamming)(const attnlab_hamming* arguments);
  attnlab_status (*interval)(const attnlab_interval* arguments);
  attnlab_status (*lut)(const attnlab_lut* arguments);
  attnlab_status (*gemm)(const attnlab_gemm* arguments);
  attnlab_status (*top_k)(attnlab_top_k* arguments);
  attnlab_status (*sample)(const attnlab_sample* arguments);
} attnlab_kernels;

/* ---------------------------------------------------------------- identity */

enum { ATTNLAB_MASKER = 1, ATTNLAB_SCORER = 2, ATTNLAB_SCHEME = 3 };

enum {
  /* What the stage writes replaces the deterministic keys that earlier stages selected, instead of adding to them; what
   * they sampled stays, except keys that the stage writes. */
  ATTNLAB_REFINE = 1,
  ATTNLAB_SAMPLES = 2, /* emits entries with p < 1; at most one such stage in a pipeline */
  /* Eviction: what the stage writes for a row are keys that stay in the cache, not a choice. With what earlier stages
   * selected they are the row's retained set (inside an earlier eviction stage's set, if there is one). Later stages
   * choose inside it, and what they write outside is dropped. When no stage follows, the retained set is the
   * selection. */
  ATTNLAB_RETAINS = 4,
  ATTNLAB_PROMPT_FITTED = 8,  /* fitted on the whole prompt: prefill rows know more than decode rows would */
  ATTNLAB_ORACLE = 16,        /* uses exact logits of all keys: a bound on quality, not a fast method */
  ATTNLAB_NEEDS_FEEDBACK = 32
};

/* An alias of a method with some parameters fixed; its id is the method's id, a dot and a name. FROZEN. */
typedef struct attnlab_preset {
  attnlab_text id;
  attnlab_text summary;
  const attnlab_text* keys;
  const attnlab_value* values;
  uint64_t count;
} attnlab_preset;

typedef struct attnlab_method {
  uint32_t struct_size;
  int32_t facet;
  uint64_t flags;
  attnlab_text id;
  attnlab_text summary;
  attnlab_text paper; /* "arXiv:2309.17453" or a DOI */
  attnlab_text version;
  attnlab_text selector; /* scorers: default selector, "top_k" | "top_p" | "threshold" | "importance" */
  const attnlab_parameter* const* parameters;
  uint64_t parameter_count;
  const attnlab_preset* presets;
  uint64_t preset_count;
  const attnlab_masker_table* masker; /* MASKER and SCORER */
  const attnlab_scheme_table* scheme; /* SCHEME */
} attnlab_method;

typedef struct attnlab_library {
  uint32_t struct_size;
  uint32_t reserved;
  const attnlab_method* const* methods;
  uint64_t method_count;
} attnlab_library;

/* The one exported symbol, `attnlab_plugin`. */
typedef struct attnlab_plugin_entry {
  uint32_t struct_size;
  uint32_t magic;
  uint32_t abi_major;
  uint32_t abi_minor;
  const char* sdk_version; /* zero-terminated */
  const char* compiler;
  /* Descriptions are built on the first call and live for ever. [main] */
  attnlab_status (*describe)(const attnlab_library** library, attnlab_error* error);
} attnlab_plugin_entry;

/* Content of the ELF note (name "attnlab", type ATTNLAB_NOTE_TYPE) in section .note.attnlab: answers "may I load
 * this?" without running code. FROZEN within a major version. */
#define ATTNLAB_NOTE_TYPE 1
enum { ATTNLAB_NOTE_FAST_MATH = 1 };
enum { /* CPU features that the whole library was compiled for */
  ATTNLAB_CPU_SSE41 = 1, ATTNLAB_CPU_AVX = 2, ATTNLAB_CPU_AVX2 = 4, ATTNLAB_CPU_FMA = 8, ATTNLAB_CPU_AVX512F = 16,
  ATTNLAB_CPU_AVX512BW = 32, ATTNLAB_CPU_AVX512VL = 64, ATTNLAB_CPU_AVX512BF16 = 128, ATTNLAB_CPU_AMX = 256
};
typedef struct attnlab_note {
  uint32_t magic;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t flags;
  uint32_t cpu_features;
  uint32_t reserved;
  char sdk_version[16];
  char compiler[64];
  char ids[160]; /* space-separated ids that the build declared; a hint, the descriptors decide */
} attnlab_note;

#ifdef __cplusplus
}
#endif

#endif

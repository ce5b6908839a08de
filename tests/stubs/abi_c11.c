/* Golden layout of plugin ABI 0.2 on LP64: sizes and offsets of every struct. A change here breaks compiled
 * plugins: before 1.0 it needs a new ATTNLAB_ABI_MINOR. Compiled as C11, and by abi_cxx20.cpp as C++20. */
#include <attnlab/abi.h>
#include <stddef.h>

#ifdef __cplusplus
#define EXPECT(condition) static_assert(condition, #condition)
#else
#define EXPECT(condition) _Static_assert(condition, #condition)
#endif
#define SIZE(type, bytes) EXPECT(sizeof(type) == bytes)
#define AT(offset, type, field) EXPECT(offsetof(type, field) == offset)

EXPECT(ATTNLAB_ABI_MAJOR == 0 && ATTNLAB_ABI_MINOR == 2);
EXPECT(sizeof(void*) == 8 && sizeof(long) == 8);

SIZE(attnlab_text, 16);
AT(0, attnlab_text, data);
AT(8, attnlab_text, size);

SIZE(attnlab_error, 1264);
AT(0, attnlab_error, struct_size);
AT(4, attnlab_error, code);
AT(8, attnlab_error, message);
AT(1008, attnlab_error, pointer);

SIZE(attnlab_range, 8);
AT(0, attnlab_range, begin);
AT(4, attnlab_range, end);

SIZE(attnlab_value, 72);
AT(0, attnlab_value, struct_size);
AT(4, attnlab_value, type);
AT(8, attnlab_value, integer);
AT(16, attnlab_value, real);
AT(24, attnlab_value, is_fraction);
AT(28, attnlab_value, is_set);
AT(32, attnlab_value, text);
AT(48, attnlab_value, items);
AT(56, attnlab_value, item_count);
AT(64, attnlab_value, handle);

SIZE(attnlab_parameter, 224);
AT(0, attnlab_parameter, struct_size);
AT(4, attnlab_parameter, type);
AT(8, attnlab_parameter, item_type);
AT(12, attnlab_parameter, required);
AT(16, attnlab_parameter, key);
AT(32, attnlab_parameter, unit);
AT(48, attnlab_parameter, doc);
AT(64, attnlab_parameter, since);
AT(80, attnlab_parameter, minimum);
AT(88, attnlab_parameter, maximum);
AT(96, attnlab_parameter, minimum_open);
AT(100, attnlab_parameter, maximum_open);
AT(104, attnlab_parameter, log_scale);
AT(108, attnlab_parameter, reserved);
AT(112, attnlab_parameter, default_value);
AT(184, attnlab_parameter, enum_names);
AT(192, attnlab_parameter, enum_docs);
AT(200, attnlab_parameter, enum_count);
AT(208, attnlab_parameter, sweep);
AT(216, attnlab_parameter, sweep_count);

SIZE(attnlab_tensor, 152);
AT(0, attnlab_tensor, struct_size);
AT(4, attnlab_tensor, dtype);
AT(8, attnlab_tensor, rank);
AT(12, attnlab_tensor, reserved);
AT(16, attnlab_tensor, data);
AT(24, attnlab_tensor, shape);
AT(88, attnlab_tensor, stride);

SIZE(attnlab_host, 72);
AT(0, attnlab_host, struct_size);
AT(4, attnlab_host, abi_major);
AT(8, attnlab_host, abi_minor);
AT(12, attnlab_host, reserved);
AT(16, attnlab_host, context);
AT(24, attnlab_host, parallel_for);
AT(32, attnlab_host, log);
AT(40, attnlab_host, metric);
AT(48, attnlab_host, cancelled);
AT(56, attnlab_host, artifact);
AT(64, attnlab_host, query);

SIZE(attnlab_geometry, 56);
AT(0, attnlab_geometry, struct_size);
AT(4, attnlab_geometry, layer);
AT(8, attnlab_geometry, batch);
AT(16, attnlab_geometry, query_heads);
AT(24, attnlab_geometry, kv_heads);
AT(32, attnlab_geometry, group);
AT(40, attnlab_geometry, head_dim);
AT(48, attnlab_geometry, value_dim);

SIZE(attnlab_column_spec, 48);
AT(0, attnlab_column_spec, name);
AT(16, attnlab_column_spec, per);
AT(20, attnlab_column_spec, dtype);
AT(24, attnlab_column_spec, width);
AT(32, attnlab_column_spec, page_size);
AT(40, attnlab_column_spec, initial);
AT(44, attnlab_column_spec, reserved);

SIZE(attnlab_column_sink, 24);
AT(0, attnlab_column_sink, struct_size);
AT(4, attnlab_column_sink, reserved);
AT(8, attnlab_column_sink, context);
AT(16, attnlab_column_sink, declare);

SIZE(attnlab_column, 40);
AT(0, attnlab_column, name);
AT(16, attnlab_column, data);
AT(24, attnlab_column, record_count);
AT(32, attnlab_column, width);

SIZE(attnlab_columns, 24);
AT(0, attnlab_columns, struct_size);
AT(4, attnlab_columns, reserved);
AT(8, attnlab_columns, count);
AT(16, attnlab_columns, columns);

SIZE(attnlab_key_block, 88);
AT(0, attnlab_key_block, struct_size);
AT(4, attnlab_key_block, layer);
AT(8, attnlab_key_block, batch);
AT(16, attnlab_key_block, kv_head);
AT(24, attnlab_key_block, begin);
AT(32, attnlab_key_block, end);
AT(40, attnlab_key_block, head_dim);
AT(48, attnlab_key_block, value_dim);
AT(56, attnlab_key_block, key);
AT(64, attnlab_key_block, key_stride);
AT(72, attnlab_key_block, value);
AT(80, attnlab_key_block, value_stride);

SIZE(attnlab_prompt, 144);
AT(0, attnlab_prompt, struct_size);
AT(4, attnlab_prompt, reserved);
AT(8, attnlab_prompt, keys);
AT(96, attnlab_prompt, query);
AT(104, attnlab_prompt, query_count);
AT(112, attnlab_prompt, query_stride);
AT(120, attnlab_prompt, group);
AT(128, attnlab_prompt, rng_key);
AT(136, attnlab_prompt, scale);
AT(140, attnlab_prompt, reserved_float);

SIZE(attnlab_feedback, 48);
AT(0, attnlab_feedback, struct_size);
AT(4, attnlab_feedback, layer);
AT(8, attnlab_feedback, batch);
AT(16, attnlab_feedback, kv_head);
AT(24, attnlab_feedback, key_count);
AT(32, attnlab_feedback, mass);
AT(40, attnlab_feedback, row_count);

SIZE(attnlab_tile, 232);
AT(0, attnlab_tile, struct_size);
AT(4, attnlab_tile, layer);
AT(8, attnlab_tile, batch);
AT(16, attnlab_tile, kv_head);
AT(24, attnlab_tile, group);
AT(32, attnlab_tile, row_count);
AT(40, attnlab_tile, key_count);
AT(48, attnlab_tile, head_dim);
AT(56, attnlab_tile, value_dim);
AT(64, attnlab_tile, scale);
AT(68, attnlab_tile, shared_visibility);
AT(72, attnlab_tile, query);
AT(80, attnlab_tile, query_stride);
AT(88, attnlab_tile, key);
AT(96, attnlab_tile, key_stride);
AT(104, attnlab_tile, value);
AT(112, attnlab_tile, value_stride);
AT(120, attnlab_tile, position);
AT(128, attnlab_tile, visible_end);
AT(136, attnlab_tile, visible_count);
AT(144, attnlab_tile, hidden);
AT(152, attnlab_tile, bias);
AT(160, attnlab_tile, columns);
AT(168, attnlab_tile, state);
AT(176, attnlab_tile, rng_key);
AT(184, attnlab_tile, rng_stream);
AT(192, attnlab_tile, context);
AT(200, attnlab_tile, logits);
AT(208, attnlab_tile, gather_logits);
AT(216, attnlab_tile, scratch);
AT(224, attnlab_tile, count_read);

SIZE(attnlab_row_prior, 64);
AT(0, attnlab_row_prior, struct_size);
AT(4, attnlab_row_prior, nothing);
AT(8, attnlab_row_prior, runs);
AT(16, attnlab_row_prior, run_count);
AT(24, attnlab_row_prior, ids);
AT(32, attnlab_row_prior, id_count);
AT(40, attnlab_row_prior, sampled_ids);
AT(48, attnlab_row_prior, sampled_log_weight);
AT(56, attnlab_row_prior, sampled_count);

SIZE(attnlab_prior, 32);
AT(0, attnlab_prior, struct_size);
AT(4, attnlab_prior, reserved);
AT(8, attnlab_prior, context);
AT(16, attnlab_prior, row);
AT(24, attnlab_prior, candidates);

SIZE(attnlab_row_writer, 72);
AT(0, attnlab_row_writer, struct_size);
AT(4, attnlab_row_writer, reserved);
AT(8, attnlab_row_writer, context);
AT(16, attnlab_row_writer, ranges);
AT(24, attnlab_row_writer, reserve);
AT(32, attnlab_row_writer, commit);
AT(40, attnlab_row_writer, pages);
AT(48, attnlab_row_writer, full);
AT(56, attnlab_row_writer, dense);
AT(64, attnlab_row_writer, virtual_rows);

SIZE(attnlab_scores, 56);
AT(0, attnlab_scores, struct_size);
AT(4, attnlab_scores, reserved);
AT(8, attnlab_scores, page_size);
AT(16, attnlab_scores, unit_count);
AT(24, attnlab_scores, values);
AT(32, attnlab_scores, stride);
AT(40, attnlab_scores, alias);
AT(48, attnlab_scores, alias_stride);

SIZE(attnlab_state_table, 56);
AT(0, attnlab_state_table, struct_size);
AT(4, attnlab_state_table, reserved);
AT(8, attnlab_state_table, create);
AT(16, attnlab_state_table, append);
AT(24, attnlab_state_table, truncate);
AT(32, attnlab_state_table, fork);
AT(40, attnlab_state_table, bytes);
AT(48, attnlab_state_table, destroy);

SIZE(attnlab_masker_table, 88);
AT(0, attnlab_masker_table, struct_size);
AT(4, attnlab_masker_table, reserved);
AT(8, attnlab_masker_table, create);
AT(16, attnlab_masker_table, destroy);
AT(24, attnlab_masker_table, columns);
AT(32, attnlab_masker_table, encode);
AT(40, attnlab_masker_table, end_prompt);
AT(48, attnlab_masker_table, feedback);
AT(56, attnlab_masker_table, select);
AT(64, attnlab_masker_table, score);
AT(72, attnlab_masker_table, page_size);
AT(80, attnlab_masker_table, state);

SIZE(attnlab_attribute, 80);
AT(0, attnlab_attribute, name);
AT(16, attnlab_attribute, type);
AT(20, attnlab_attribute, reserved);
AT(24, attnlab_attribute, integer);
AT(32, attnlab_attribute, real);
AT(40, attnlab_attribute, text);
AT(56, attnlab_attribute, integers);
AT(64, attnlab_attribute, integer_count);
AT(72, attnlab_attribute, handle);

SIZE(attnlab_custom_op, 64);
AT(0, attnlab_custom_op, struct_size);
AT(4, attnlab_custom_op, reserved);
AT(8, attnlab_custom_op, name);
AT(24, attnlab_custom_op, context);
AT(32, attnlab_custom_op, shape);
AT(40, attnlab_custom_op, forward);
AT(48, attnlab_custom_op, gradient);
AT(56, attnlab_custom_op, destroy);

SIZE(attnlab_graph, 96);
AT(0, attnlab_graph, struct_size);
AT(4, attnlab_graph, reserved);
AT(8, attnlab_graph, resolve);
AT(16, attnlab_graph, apply);
AT(24, attnlab_graph, custom);
AT(32, attnlab_graph, grad);
AT(40, attnlab_graph, constant);
AT(48, attnlab_graph, parameter);
AT(56, attnlab_graph, view);
AT(64, attnlab_graph, retain);
AT(72, attnlab_graph, release);
AT(80, attnlab_graph, report);
AT(88, attnlab_graph, context);

SIZE(attnlab_scheme_state, 40);
AT(0, attnlab_scheme_state, struct_size);
AT(4, attnlab_scheme_state, reserved);
AT(8, attnlab_scheme_state, context);
AT(16, attnlab_scheme_state, get);
AT(24, attnlab_scheme_state, set);
AT(32, attnlab_scheme_state, append);

SIZE(attnlab_scheme_context, 104);
AT(0, attnlab_scheme_context, struct_size);
AT(4, attnlab_scheme_context, layer);
AT(8, attnlab_scheme_context, batch);
AT(16, attnlab_scheme_context, tokens);
AT(24, attnlab_scheme_context, past);
AT(32, attnlab_scheme_context, embed_dim);
AT(40, attnlab_scheme_context, query_heads);
AT(48, attnlab_scheme_context, kv_heads);
AT(56, attnlab_scheme_context, head_dim);
AT(64, attnlab_scheme_context, value_dim);
AT(72, attnlab_scheme_context, causal);
AT(76, attnlab_scheme_context, training);
AT(80, attnlab_scheme_context, rng_key);
AT(88, attnlab_scheme_context, graph);
AT(96, attnlab_scheme_context, scale);

SIZE(attnlab_scheme_sink, 32);
AT(0, attnlab_scheme_sink, struct_size);
AT(4, attnlab_scheme_sink, reserved);
AT(8, attnlab_scheme_sink, context);
AT(16, attnlab_scheme_sink, input);
AT(24, attnlab_scheme_sink, parameter);

SIZE(attnlab_scheme_table, 48);
AT(0, attnlab_scheme_table, struct_size);
AT(4, attnlab_scheme_table, reserved);
AT(8, attnlab_scheme_table, create);
AT(16, attnlab_scheme_table, destroy);
AT(24, attnlab_scheme_table, declare);
AT(32, attnlab_scheme_table, forward);
AT(40, attnlab_scheme_table, step);

SIZE(attnlab_dot, 88);
AT(0, attnlab_dot, struct_size);
AT(4, attnlab_dot, scale);
AT(8, attnlab_dot, query);
AT(16, attnlab_dot, query_stride);
AT(24, attnlab_dot, rows);
AT(32, attnlab_dot, width);
AT(40, attnlab_dot, key);
AT(48, attnlab_dot, key_stride);
AT(56, attnlab_dot, keys);
AT(64, attnlab_dot, ids);
AT(72, attnlab_dot, scores);
AT(80, attnlab_dot, scores_stride);

SIZE(attnlab_hamming, 88);
AT(0, attnlab_hamming, struct_size);
AT(4, attnlab_hamming, reserved);
AT(8, attnlab_hamming, query);
AT(16, attnlab_hamming, query_stride);
AT(24, attnlab_hamming, rows);
AT(32, attnlab_hamming, words);
AT(40, attnlab_hamming, bits);
AT(48, attnlab_hamming, code);
AT(56, attnlab_hamming, code_stride);
AT(64, attnlab_hamming, keys);
AT(72, attnlab_hamming, scores);
AT(80, attnlab_hamming, scores_stride);

SIZE(attnlab_interval, 80);
AT(0, attnlab_interval, struct_size);
AT(4, attnlab_interval, scale);
AT(8, attnlab_interval, query);
AT(16, attnlab_interval, query_stride);
AT(24, attnlab_interval, rows);
AT(32, attnlab_interval, head_dim);
AT(40, attnlab_interval, extremes);
AT(48, attnlab_interval, extremes_stride);
AT(56, attnlab_interval, pages);
AT(64, attnlab_interval, scores);
AT(72, attnlab_interval, scores_stride);

SIZE(attnlab_lut, 88);
AT(0, attnlab_lut, struct_size);
AT(4, attnlab_lut, code_type);
AT(8, attnlab_lut, table);
AT(16, attnlab_lut, table_stride);
AT(24, attnlab_lut, rows);
AT(32, attnlab_lut, subspaces);
AT(40, attnlab_lut, entries);
AT(48, attnlab_lut, code);
AT(56, attnlab_lut, code_stride);
AT(64, attnlab_lut, keys);
AT(72, attnlab_lut, scores);
AT(80, attnlab_lut, scores_stride);

SIZE(attnlab_gemm, 96);
AT(0, attnlab_gemm, struct_size);
AT(4, attnlab_gemm, reserved);
AT(8, attnlab_gemm, m);
AT(16, attnlab_gemm, n);
AT(24, attnlab_gemm, k);
AT(32, attnlab_gemm, a);
AT(40, attnlab_gemm, a_row_stride);
AT(48, attnlab_gemm, a_column_stride);
AT(56, attnlab_gemm, b);
AT(64, attnlab_gemm, b_row_stride);
AT(72, attnlab_gemm, b_column_stride);
AT(80, attnlab_gemm, c);
AT(88, attnlab_gemm, c_stride);

SIZE(attnlab_top_k, 56);
AT(0, attnlab_top_k, struct_size);
AT(4, attnlab_top_k, reserved);
AT(8, attnlab_top_k, scores);
AT(16, attnlab_top_k, runs);
AT(24, attnlab_top_k, run_count);
AT(32, attnlab_top_k, k);
AT(40, attnlab_top_k, ids);
AT(48, attnlab_top_k, chosen);

SIZE(attnlab_sample, 56);
AT(0, attnlab_sample, struct_size);
AT(4, attnlab_sample, reserved);
AT(8, attnlab_sample, rng_key);
AT(16, attnlab_sample, rng_stream);
AT(24, attnlab_sample, runs);
AT(32, attnlab_sample, run_count);
AT(40, attnlab_sample, count);
AT(48, attnlab_sample, ids);

SIZE(attnlab_kernels, 64);
AT(0, attnlab_kernels, struct_size);
AT(4, attnlab_kernels, reserved);
AT(8, attnlab_kernels, dot);
AT(16, attnlab_kernels, hamming);
AT(24, attnlab_kernels, interval);
AT(32, attnlab_kernels, lut);
AT(40, attnlab_kernels, gemm);
AT(48, attnlab_kernels, top_k);
AT(56, attnlab_kernels, sample);

SIZE(attnlab_preset, 56);
AT(0, attnlab_preset, id);
AT(16, attnlab_preset, summary);
AT(32, attnlab_preset, keys);
AT(40, attnlab_preset, values);
AT(48, attnlab_preset, count);

SIZE(attnlab_method, 144);
AT(0, attnlab_method, struct_size);
AT(4, attnlab_method, facet);
AT(8, attnlab_method, flags);
AT(16, attnlab_method, id);
AT(32, attnlab_method, summary);
AT(48, attnlab_method, paper);
AT(64, attnlab_method, version);
AT(80, attnlab_method, selector);
AT(96, attnlab_method, parameters);
AT(104, attnlab_method, parameter_count);
AT(112, attnlab_method, presets);
AT(120, attnlab_method, preset_count);
AT(128, attnlab_method, masker);
AT(136, attnlab_method, scheme);

SIZE(attnlab_library, 24);
AT(0, attnlab_library, struct_size);
AT(4, attnlab_library, reserved);
AT(8, attnlab_library, methods);
AT(16, attnlab_library, method_count);

SIZE(attnlab_plugin_entry, 40);
AT(0, attnlab_plugin_entry, struct_size);
AT(4, attnlab_plugin_entry, magic);
AT(8, attnlab_plugin_entry, abi_major);
AT(12, attnlab_plugin_entry, abi_minor);
AT(16, attnlab_plugin_entry, sdk_version);
AT(24, attnlab_plugin_entry, compiler);
AT(32, attnlab_plugin_entry, describe);

SIZE(attnlab_note, 264);
AT(0, attnlab_note, magic);
AT(4, attnlab_note, abi_major);
AT(8, attnlab_note, abi_minor);
AT(12, attnlab_note, flags);
AT(16, attnlab_note, cpu_features);
AT(20, attnlab_note, reserved);
AT(24, attnlab_note, sdk_version);
AT(40, attnlab_note, compiler);
AT(104, attnlab_note, ids);

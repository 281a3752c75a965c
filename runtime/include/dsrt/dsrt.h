// The C API of libdsrt: loads a package, runs its programs, generates text. No function throws, none prints.
//   Every function that can fail returns a dsrt_status; anything but DSRT_OK leaves one line for dsrt_last_error() of that thread.
//   A structure that begins with `size` is versioned by it: set it with its _init function or to sizeof, before anything else.
//   Calls on one model (and its sessions) from several threads are safe and run one after the other.
//   The calling thread is one of the model's workers; where less than 4 MiB of its stack are left, kernels run on one of this library's.
//   A stack that is not the thread's own, as of coroutines, needs as many.
//   Weights, caches and buffers that the system refuses are DSRT_UNAVAILABLE; small allocations that it refuses end the process.
#ifndef DSRT_DSRT_H
#define DSRT_DSRT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define DSRT_API __attribute__((visibility("default")))
#else
#define DSRT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/// Equal to the exit codes of the tools. A message opens with the class in quotes.
typedef enum dsrt_status {
  DSRT_OK = 0,
  DSRT_INVALID_ARGUMENT = 2, // "invalid argument": the caller's mistake; nothing ran
  DSRT_BAD_DATA = 65,        // "bad data": a file of the package is not what it should be
  DSRT_MISSING = 66,         // "missing": a file or folder is not there or cannot be read
  DSRT_UNAVAILABLE = 69,     // "unavailable": this machine lacks a CPU level, a GPU, its driver; "out of memory"
  DSRT_INTERNAL = 70,        // "internal": a mistake of this library or of the package's code
  DSRT_CANNOT_WRITE = 73     // "cannot write"
} dsrt_status;

typedef struct dsrt_model dsrt_model;
typedef struct dsrt_session dsrt_session;

/// The version of this library, "0.1.0".
DSRT_API const char *dsrt_version(void);

/// The message of the last failed call on this thread: one line without a newline, "" when none failed. Valid until the next call.
DSRT_API const char *dsrt_last_error(void);

// ---- Loading -------------------------------------------------------------------------------------------------------------------

typedef struct dsrt_load_options {
  size_t size;
  int32_t threads;     // 0: DS_NUM_THREADS, else what the affinity mask and the cgroup's CPU quota allow
  int32_t skip_hashes; // 1: the weights are checked by size alone; code and manifest are always checked
  int32_t pin;         // 0: pin threads when they are as many as the allowed cores; 1: always; -1: never
  int32_t huge_pages;  // 1: copies the weights to 2 MiB pages where memory is plenty; faster steps, a longer load, nothing shared
  const char *isa;     // highest CPU level to use, such as "x86-64-v2"; NULL: DS_FORCE_ISA, else the machine's
  const char
      *device; // "cpu", "cuda" (cuda:0), "cuda:1", "emulate"; NULL: DS_DEVICE, else the CPU if the package has code for it, else cuda:0
} dsrt_load_options;

DSRT_API void dsrt_load_options_init(dsrt_load_options *options);

/// Opens the package in folder `path`. `options` may be NULL. Checks everything docs/package-format.md says before opening code.
/// Fails with bad data (a file changed, another version), missing, unavailable (no code for this machine or device; no GPU, no driver),
/// out of memory. Then *model is NULL.
DSRT_API dsrt_status dsrt_load(const char *path, const dsrt_load_options *options, dsrt_model **model);

/// Frees a model; its sessions must be freed before. NULL is allowed.
DSRT_API void dsrt_free(dsrt_model *model);

/// The text of manifest.json, null-terminated; lives as long as the model.
DSRT_API const char *dsrt_manifest_json(const dsrt_model *model);

/// What a model is. Pointers live as long as the model.
typedef struct dsrt_info {
  size_t size;
  const char *path, *producer, *family, *name, *task, *weights_dtype;
  const char *level; // of the code that was opened, such as "x86-64-v3"; of a GPU "sm_90a", or "compute_80" of what its driver compiled
  int32_t package_version;
  int32_t threads;
  int32_t is_decoder; // 1: task causal-lm (generate, sessions), 0: an encoder
  int32_t vocab_size, hidden_size, layers;
  int32_t label_count;         // of a classifier, else 0
  int32_t max_positions;       // of the model; -1 when it has no limit of its own
  int32_t context;             // tokens of one sequence that fit: the cache's for decoders, the longest forward for encoders
  int32_t max_batch, max_rows; // of one step; larger calls are split
  const int32_t *bos, *eos;
  int32_t bos_count, eos_count;
  int32_t pad; // -1: none
  int64_t parameters, weights_bytes;
  int64_t kv_bytes_per_sequence; // 0 for encoders
  const char *device;            // "cpu", "cuda:0", "emulate"
  const char *device_name;       // of a GPU, such as "NVIDIA H200"; else ""
  const char *cache_type;        // what the cache holds, "f32", "bf16" or "int8"; "" for encoders
  const char *note;              // what the model does without though its package has it, in one line; else ""
} dsrt_info;

/// Fills the first info->size bytes of the structure.
DSRT_API dsrt_status dsrt_get_info(const dsrt_model *model, dsrt_info *info);

typedef struct dsrt_memory {
  size_t size;
  int64_t weights;      // mapped from the file, or copied from it to larger pages
  int64_t arena;        // working memory of the programs, allocated so far
  int64_t kv;           // address space of the cache blocks made so far; pages become resident as tokens are written
  int64_t huge_weights; // of the weights, on 2 MiB pages (dsrt_load_options.huge_pages)
  int64_t device;       // all that is on the device: weights, arena, kv, inputs and outputs; 0 on the CPU
} dsrt_memory;

DSRT_API dsrt_status dsrt_get_memory(const dsrt_model *model, dsrt_memory *memory);

// ---- Forward -------------------------------------------------------------------------------------------------------------------

/// Token ids [batch, tokens], row-major. Ids at masked places are ignored.
typedef struct dsrt_batch {
  size_t size;
  int32_t batch, tokens;
  const int32_t *input_ids;
  // [batch, tokens], 1 = a token, 0 = padding anywhere in the row, but not between tokens where attention has a window or slopes; NULL: all
  // ones
  const int32_t *attention_mask;
  const int32_t *token_type_ids; // [batch, tokens]; NULL: zeros; ignored by models without segments
} dsrt_batch;

/// Shape of an output for a batch: rank in *rank (2 or 3), sizes in shape[3]. `output` is "logits", "hidden" or "embedding".
///   logits     [batch, tokens, vocab] for causal-lm and masked-lm, [batch, labels] for sequence-classification
///   hidden     [batch, tokens, hidden]     embedding  [batch, hidden]
/// Fails with invalid argument when the model has no such output; the message lists those it has.
DSRT_API dsrt_status dsrt_output_shape(const dsrt_model *model, const char *output, int32_t batch, int32_t tokens, int64_t shape[3],
                                       int32_t *rank);

/// Computes one output for a whole batch, any size: large batches are split, long prompts of decoders are run in chunks.
///   out [product of dsrt_output_shape] f32, written. Masked places of decoders hold what the model computes there from the tokens before
///   them, as transformers has it, while a row fits one step (dsrt_info.max_rows), and zeros beyond, or where the cache is of bf16 or int8.
/// Positions follow the manifest's rule, as transformers' forward does without position_ids.
/// Fails with invalid argument: an id outside the vocabulary, a sequence beyond the context, `out_elements` that differ.
DSRT_API dsrt_status dsrt_forward(dsrt_model *model, const dsrt_batch *batch, const char *output, float *out, size_t out_elements);

// ---- Sessions: sequences that keep their cache ---------------------------------------------------------------------------------

/// Makes `batch` empty sequences (decoders only). Memory of their caches is taken as they grow.
DSRT_API dsrt_status dsrt_session_create(dsrt_model *model, int32_t batch, dsrt_session **session);
DSRT_API void dsrt_session_free(dsrt_session *session);

/// Tokens in the cache of a sequence; -1 when there is no such sequence.
DSRT_API int32_t dsrt_session_length(const dsrt_session *session, int32_t sequence);

/// Forgets the tokens of a sequence from `length` on. Fails with invalid argument when it has fewer.
DSRT_API dsrt_status dsrt_session_truncate(dsrt_session *session, int32_t sequence, int32_t length);

/// Forgets all tokens of all sequences.
DSRT_API dsrt_status dsrt_session_reset(dsrt_session *session);

/// Appends the unmasked tokens of row i to sequence i; batch->batch is the session's. Rows may differ in length or add nothing.
///   logits [batch, vocab] f32, written: of the last token of each row, zeros for rows without tokens; NULL: not wanted
/// Fails with invalid argument before anything runs, also when a sequence would pass the context.
DSRT_API dsrt_status dsrt_session_forward(dsrt_session *session, const dsrt_batch *batch, float *logits, size_t logits_elements);

// ---- Generation ----------------------------------------------------------------------------------------------------------------

typedef enum dsrt_finish {
  DSRT_FINISH_NONE = 0,
  DSRT_FINISH_EOS = 1,      // an end token was made; it is the last of the output
  DSRT_FINISH_STOP = 2,     // a stop sequence was made, or the callback returned 1
  DSRT_FINISH_LENGTH = 3,   // max_new_tokens, or the context is full
  DSRT_FINISH_CANCELLED = 4 // the callback returned 2
} dsrt_finish;

/// The names and the order of transformers: repetition penalty, then temperature, top-k, top-p, min-p. Neutral values switch a step off.
typedef struct dsrt_generation {
  size_t size;
  int32_t max_new_tokens;      // default 20; at least 1
  int32_t do_sample;           // 0: greedy
  float temperature;           // 1; > 0
  int32_t top_k;               // 0: off
  float top_p;                 // 1: off
  float min_p;                 // 0: off
  float repetition_penalty;    // 1: off
  uint64_t seed;               // the same seed and row give the same tokens at any batch size
  const int32_t *eos;          // end tokens
  int32_t eos_count;           // -1 (default): the manifest's; 0: none
  const int32_t *stop_tokens;  // stop sequences, one after the other
  const int32_t *stop_lengths; // [stop_count]
  int32_t stop_count;
  int32_t pad_token;     // fills out_tokens after the end; -1 (default): the manifest's, else its first end token, else 0
  int32_t prefill_chunk; // most tokens of one sequence in one prefill step; 0: as many as fit
} dsrt_generation;

DSRT_API void dsrt_generation_init(dsrt_generation *generation);

/// Called for each new token, in the order of steps and rows. `finish` is not DSRT_FINISH_NONE at the last token of a row.
/// Returns 0 to go on, 1 to end this row (stop), 2 to end all rows (cancelled). Must not call into the same model.
typedef int32_t (*dsrt_token_callback)(void *user, int32_t row, int32_t token, int32_t finish);

/// Continues each row of the batch; rows beyond max_batch follow when those before them have ended. Positions count unmasked tokens, as
/// transformers' generate does.
///   out_tokens [batch, max_new_tokens], written; the rest of a row is filled with pad_token
///   out_lengths [batch], written: tokens made;   finish [batch], written: dsrt_finish; may be NULL
/// A row whose prompt fills the context makes no token more than fits and ends with DSRT_FINISH_LENGTH.
/// Fails with invalid argument (an empty row, an id outside the vocabulary, a prompt longer than the context) before anything runs.
DSRT_API dsrt_status dsrt_generate(dsrt_model *model, const dsrt_batch *batch, const dsrt_generation *generation,
                                   dsrt_token_callback callback, void *user, int32_t *out_tokens, int32_t *out_lengths, int32_t *finish);

// ---- Tracing: when each thread ran each launch ---------------------------------------------------------------------------------

/// One step that was traced. What its launches are says profile.json of the package (docs/package-format.md), in the same order.
typedef struct dsrt_traced_step {
  size_t size;
  const char *program;
  int32_t batch, tokens, rows; // B, T, R of the step
  int32_t threads, launches;   // threads: 1 on a device
  int64_t keys;                // sum over sequences of the tokens they have behind the step: past + T
  int64_t pairs;        // sum over sequences and their tokens of the keys up to the token: what causal attention sees without a window
  int64_t begin, end;   // ns since tracing began: of the whole step, as the calling thread sees it
  const int64_t *times; // [threads][launches][2] ns since tracing began; begin and end are both 0 where a launch did not run
  const int32_t *past;  // [batch] tokens that each sequence had before the step
} dsrt_traced_step;

/// Traces the first `max_steps` steps of `model` from now on; what was traced before is forgotten. Costs a few cycles a launch.
/// Fails with invalid argument when max_steps is below 1.
DSRT_API dsrt_status dsrt_trace_start(dsrt_model *model, int32_t max_steps);
/// Ends tracing; traced steps stay until the next start.
DSRT_API dsrt_status dsrt_trace_stop(dsrt_model *model);
/// Steps that were traced, and how many were not for max_steps.
DSRT_API int32_t dsrt_trace_count(const dsrt_model *model, int32_t *left_out);
/// The step `index`, once tracing has stopped. Its pointers live until tracing starts again or the model is freed.
/// Fails with invalid argument while tracing, or when there is no such step.
DSRT_API dsrt_status dsrt_trace_get(const dsrt_model *model, int32_t index, dsrt_traced_step *step);
/// The text of profile.json, or null when the package has none; lives as long as the model.
DSRT_API const char *dsrt_profile_description(dsrt_model *model);

// ---- Profiles: where the time of traced steps went -----------------------------------------------------------------------------

typedef enum dsrt_profile_format {
  DSRT_PROFILE_TEXT = 0,  // in the layout of DeepSpeed's flops profiler
  DSRT_PROFILE_JSON = 1,  // everything
  DSRT_PROFILE_HTML = 2,  // one page that needs no network: tree, timeline, roofline plot
  DSRT_PROFILE_TRACE = 3, // for chrome://tracing and Perfetto: one track a thread
} dsrt_profile_format;

typedef struct dsrt_profile_options {
  size_t size;
  int32_t format;      // dsrt_profile_format
  int32_t depth;       // of the module tree; -1 (default): all of it
  int32_t top;         // modules named for each depth; 3
  int32_t compatible;  // 0: exact counts; 1: as DeepSpeed's profiler counts, every pair of an attention included
  const char *machine; // machine.json, as `ds-bench --calibrate` writes it; on a GPU or its emulator a100, h100, h200 or a file that
                       // describes a GPU (docs/cost-model.md). NULL: no roofline and no predictions, but of a GPU of those three
  const char *failure; // why the run that was traced failed, one line; NULL: it did not. The report says so
} dsrt_profile_options;

DSRT_API void dsrt_profile_options_init(dsrt_profile_options *options);

/// Writes a report on the steps that were traced; steps of one program and shape are summarised by medians. docs/profiling.md explains it.
/// No traced step, or a package without profile.json, still gives a valid report, which says so. `options` may be NULL.
///   text, length   written: null-terminated, lives until the next report of this model or until the model is freed
/// Fails with invalid argument (tracing is on, an option out of range), missing and bad data (the machine's file, profile.json).
DSRT_API dsrt_status dsrt_profile_report(dsrt_model *model, const dsrt_profile_options *options, const char **text, size_t *length);

/// Writes the report to a file. Its name says the format in place of options->format: .html, .trace.json, .json, .txt.
///   model   may be NULL when loading failed: the report then says what options->failure says
/// Fails as dsrt_profile_report does, with invalid argument for another ending, and with cannot write.
DSRT_API dsrt_status dsrt_profile_write(dsrt_model *model, const dsrt_profile_options *options, const char *path);

// ---- Programs, as they are in the package --------------------------------------------------------------------------------------

/// A named array of a program: i32 for inputs (f32 for those of training that are: docs/training.md), f32 for outputs.
typedef struct dsrt_array {
  const char *name;
  void *data;
  size_t elements;
} dsrt_array;

/// Runs one step of a program on fresh caches: every declared input must be given, outputs that are not given are not computed.
/// Fails with invalid argument when a name, a size, an id, a position, a row or `past` is out of range.
DSRT_API dsrt_status dsrt_run_program(dsrt_model *model, const char *program, int32_t batch, int32_t tokens, int32_t rows,
                                      const dsrt_array *inputs, int32_t input_count, const dsrt_array *outputs, int32_t output_count);

/// What a package that trains keeps from step to step: parameters, gradients and two moments, each part as long as the manifest says. The
/// caller may change it between steps.
///   data, bytes   written: the block, which lives as long as the model; NULL and 0 in other packages
DSRT_API dsrt_status dsrt_state(dsrt_model *model, void **data, size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif // DSRT_DSRT_H

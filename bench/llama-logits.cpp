// Writes the logits that llama.cpp gives after some positions of windows of a text, for `npm run bench -- weights`.
// usage: llama-logits LIBRARIES MODEL.gguf WINDOW FIRST LAST < int32 token ids > float32 logits
// LIBRARIES is the folder of libggml's libraries. Each window of WINDOW tokens is read from an empty cache in f32; the
// logits behind the positions FIRST to LAST go to the standard output, [LAST - FIRST + 1, vocabulary].
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ggml-backend.h"
#include "llama.h"

static void quiet(ggml_log_level level, const char *text, void *) {
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  llama_log_set(quiet, nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  const int window = atoi(argv[3]), first = atoi(argv[4]), last = atoi(argv[5]);
  llama_model_params of_model = llama_model_default_params();
  of_model.n_gpu_layers = 0;
  llama_model *model = llama_model_load_from_file(argv[2], of_model);
  if (!model) return 1;
  llama_context_params of_context = llama_context_default_params();
  of_context.n_ctx = of_context.n_batch = of_context.n_ubatch = window;
  of_context.n_threads = of_context.n_threads_batch = 2;
  of_context.type_k = of_context.type_v = GGML_TYPE_F32;
  llama_context *context = llama_init_from_model(model, of_context);
  if (!context) return 1;
  const size_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  std::vector<int32_t> ids(window);
  llama_batch batch = llama_batch_init(window, 0, 1);
  while (fread(ids.data(), sizeof(int32_t), window, stdin) == (size_t)window) {
    llama_memory_clear(llama_get_memory(context), true);
    batch.n_tokens = window;
    for (int at = 0; at < window; at++) {
      batch.token[at] = ids[at];
      batch.pos[at] = at;
      batch.n_seq_id[at] = 1;
      batch.seq_id[at][0] = 0;
      batch.logits[at] = at >= first && at <= last;
    }
    if (llama_decode(context, batch) != 0) return 1;
    for (int at = first; at <= last; at++)
      fwrite(llama_get_logits_ith(context, at), sizeof(float), vocabulary, stdout);
    fflush(stdout);
  }
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  return 0;
}

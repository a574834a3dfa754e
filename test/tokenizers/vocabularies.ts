/** Real tokenizer.json files of the package index, by what they tokenize for. */
export const vocabularies = [
  { name: 'Llama 2', source: 'tokenizer-llama2', gguf: { model: 'llama', pre: 'default' } },
  { name: 'Llama 3.1', source: 'tokenizer-llama3_1', gguf: { model: 'gpt2', pre: 'llama-bpe' } },
  { name: 'Qwen3', source: 'tokenizer-qwen3', gguf: { model: 'gpt2', pre: 'qwen2' } },
  { name: 'gpt-oss', source: 'tokenizer-gptoss', gguf: { model: 'gpt2', pre: 'gpt-4o' } },
  { name: 'Gemma 3', source: 'tokenizer-gemma3', gguf: { model: 'llama', pre: 'default' } },
] as const
export type RealVocabulary = (typeof vocabularies)[number]

export const sourceVersion = '3.7.2'
export const referenceVersion = '0.23.3'

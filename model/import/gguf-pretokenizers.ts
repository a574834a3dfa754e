import { gpt2Pattern } from './tokenizer.ts'

export interface PreTokenizer {
  /** One split after the other, in Oniguruma's syntax. */
  readonly patterns: readonly string[]
  /** Unicode's NFC comes first. llama.cpp leaves it out; the models' own tokenizers have it. */
  readonly composes?: true
  /** A word that is a token is not merged from its parts. */
  readonly ignoreMerges?: true
  /** Prompts start with the beginning-of-sequence token unless the file says otherwise. */
  readonly addBegin?: true
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
/** OpenAI's cl100k_base with so many digits to a word. */
const cl100k = (digits: string) =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const capitals = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}'
const small = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}'
/** OpenAI's o200k_base: a word ends before a capital that follows a small letter. */
const o200k = ({ digits, ending }: { digits: string; ending: string }) =>
  `[^\\r\\n\\p{L}\\p{N}]?[${capitals}]*[${small}]+${ending}|[^\\r\\n\\p{L}\\p{N}]?[${capitals}]+[${small}]*${ending}|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const deepseekWords =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

/** BLOOM's split: a word ends at a space, a bracket or a full stop of any script. */
const finnish = ' ?[^(\\s|.,!?…。，、।۔،)]+'

const gpt2: PreTokenizer = { patterns: [gpt2Pattern] }
const digitsThenGpt2: PreTokenizer = { patterns: ['\\p{N}', gpt2Pattern] }
const llama3: PreTokenizer = { patterns: [cl100k('{1,3}')], ignoreMerges: true, addBegin: true }
const threeDigits: PreTokenizer = { patterns: [cl100k('{1,3}')] }
const oneDigit: PreTokenizer = { patterns: [cl100k('')] }
const gpt4o: PreTokenizer = { patterns: [o200k({ digits: '{1,3}', ending: `${contractions}?` })] }
const qwen2: PreTokenizer = { patterns: [cl100k('')], composes: true }

/** `tokenizer.ggml.pre` (`LLAMA_VOCAB_PRE_TYPE_*` in llama.cpp's llama-vocab.cpp). A new one is one row. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  // Files from before llama.cpp told pre-tokenizers apart.
  default: { patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', gpt2Pattern, '\\p{N}+', '[0-9][0-9][0-9]'] },
  // Llama 3, SmolLM3 and what was made of them.
  'llama-bpe': llama3,
  'llama-v3': llama3,
  llama3,
  falcon3: llama3,
  pixtral: llama3,
  'midm-2.0': llama3,
  'falcon-h1': llama3,
  lfm2: llama3,
  'smaug-bpe': threeDigits,
  // Phi-4, OLMo 2, Granite 4.
  dbrx: threeDigits,
  glm4: threeDigits,
  'chatglm-bpe': threeDigits,
  // Phi-4-mini, gpt-oss.
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  kanana2: gpt4o,
  talkie: gpt4o,
  // Mistral from Nemo on.
  tekken: {
    patterns: [o200k({ digits: '', ending: '' })],
    ignoreMerges: true,
    addBegin: true,
  },
  qwen2,
  f2llmv2: qwen2,
  'deepseek-r1-qwen': oneDigit,
  kormo: oneDigit,
  megrez: oneDigit,
  stablelm2: oneDigit,
  hunyuan: oneDigit,
  'solar-open': oneDigit,
  'grok-2': oneDigit,
  qwen35: {
    patterns: [
      `${contractions}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ],
    composes: true,
  },
  // Granite 3, SmolLM and SmolLM2, Command R.
  refact: digitsThenGpt2,
  smollm: digitsThenGpt2,
  starcoder: digitsThenGpt2,
  'command-r': digitsThenGpt2,
  codeshell: digitsThenGpt2,
  exaone: digitsThenGpt2,
  'minerva-7b': digitsThenGpt2,
  mellum2: digitsThenGpt2,
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: gpt2,
  jais: gpt2,
  trillion: gpt2,
  'granite-docling': gpt2,
  gigachat: gpt2,
  mellum: gpt2,
  'a.x-4.0': gpt2,
  exaone4: gpt2,
  // Viking, and Poro and other BLOOM-like vocabularies.
  viking: { patterns: [finnish, '\\p{N}'] },
  'poro-chat': { patterns: [finnish] },
  'gpt3-finnish': { patterns: [finnish] },
  bloom: { patterns: [finnish] },
  // GPT-NeoX's.
  olmo: { ...gpt2, composes: true },
  superbpe: { patterns: ['\\p{N}+', '(?=(\\d{3})+(?!\\d))'] },
  'deepseek-coder': {
    patterns: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}'],
  },
  'deepseek-v3': { patterns: ['\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', deepseekWords] },
  'seed-coder': {
    patterns: [
      `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ],
  },
  minicpm5: {
    patterns: ['\\p{N}{1,3}', cl100k('+')],
    ignoreMerges: true,
  },
}

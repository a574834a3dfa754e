/**
 * A byte-level BPE tokenizer.json small enough to read: token ids 0 to 255 are the bytes, then some merges, then
 * three special tokens. Words split as SmolLM2's do.
 */

const printable = (byte: number) =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)

/** GPT-2's character for each byte. */
const characters: readonly string[] = (() => {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

const merges = [
  ['h', 'e'],
  ['l', 'l'],
  ['he', 'll'],
  ['hell', 'o'],
  ['Ġ', 'w'],
  ['o', 'r'],
  ['Ġw', 'or'],
  ['Ġwor', 'ld'],
  ['l', 'd'],
] as const

export const tinySpecials = { endOfText: 300, imStart: 301, imEnd: 302 } as const

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
})

const merged = merges.map(([left, right]) => left + right)

/** Filler between the merges and the specials, so that every id below 303 exists. */
const filler = Array.from({ length: tinySpecials.endOfText - 256 - merged.length }, (_, at) => `filler${at}`)

export const tinyTokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [
    special(tinySpecials.endOfText, '<|endoftext|>'),
    special(tinySpecials.imStart, '<|im_start|>'),
    special(tinySpecials.imEnd, '<|im_end|>'),
  ],
  normalizer: null,
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Digits', individual_digits: true },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    ],
  },
  post_processor: null,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: 'BPE' as const,
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries([...characters, ...merged, ...filler].map((token, id) => [token, id])),
    merges,
  },
}

/** Ids of a text, one per UTF-8 byte: a valid, if long, encoding. */
export const byteIds = (text: string): number[] => [...new TextEncoder().encode(text)]

const system = '<|im_start|>system\nBe kind.<|im_end|>\n'

/** ChatML with a default system prompt, as SmolLM2 has it. */
export const tinyChat = {
  template: `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '${system.replace('\n', '\\n').replace('\n', '\\n')}' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`,
}

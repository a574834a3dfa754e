import { z } from 'zod'
import { QuartetError } from '../errors.ts'
import { issuesOf } from '../issues.ts'
import { fromOniguruma, literally } from './oniguruma.ts'
import { flattenStages, type Stage, type TokenizerFile } from './tokenizer-file.ts'
import type { NormalizerStep, TokenizerHead, WordStage } from './tokenizer-tables.ts'

/** GPT-2's word pattern, which a ByteLevel stage applies unless `use_regex` is false. */
const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const punctuation = '[!-/:-@\\[-`{-~]|\\p{P}'

export function refuseTokenizer(param: string, why: string): never {
  throw new QuartetError('invalid_request', `tokenizer.${param}: ${why}`, { param: `tokenizer.${param}` })
}

/** Parses a stage's settings, or refuses the stage by name. */
function parse<S extends z.ZodType>(schema: S, stage: Stage, param: string): z.infer<S> {
  const parsed = schema.safeParse(stage)
  if (parsed.success) return parsed.data
  return refuseTokenizer(param, `${stage.type}: ${issuesOf(parsed.error)}`)
}

const Pattern = z.union([z.object({ Regex: z.string() }), z.object({ String: z.string().min(1) })])

function patternSource(pattern: z.infer<typeof Pattern>, param: string): string {
  if ('String' in pattern) return literally(pattern.String)
  try {
    return fromOniguruma(pattern.Regex)
  } catch (error) {
    return refuseTokenizer(
      param,
      `the pattern ${pattern.Regex} is not supported (${error instanceof Error ? error.message : error})`,
    )
  }
}

const behaviors = {
  Isolated: 'isolated',
  Removed: 'removed',
  MergedWithPrevious: 'merged-with-previous',
  MergedWithNext: 'merged-with-next',
  Contiguous: 'contiguous',
} as const
const Behavior = z.enum(['Isolated', 'Removed', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'])

const isolated = (regex: string): WordStage => ({
  type: 'split',
  pattern: fromOniguruma(regex),
  behavior: 'isolated',
  invert: false,
})

const wordStages: Readonly<Record<string, (stage: Stage, param: string) => readonly WordStage[]>> = {
  Split(stage, param) {
    const Split = z.object({ pattern: Pattern, behavior: Behavior, invert: z.boolean().default(false) })
    const { behavior, invert, pattern } = parse(Split, stage, param)
    return [{ type: 'split', pattern: patternSource(pattern, param), behavior: behaviors[behavior], invert }]
  },
  Digits(stage, param) {
    const { individual_digits } = parse(
      z.object({ individual_digits: z.boolean().default(false) }),
      stage,
      param,
    )
    return [isolated(individual_digits ? '\\p{N}' : '\\p{N}+')]
  },
  ByteLevel(stage, param) {
    const ByteLevel = z.object({
      add_prefix_space: z.boolean().default(true),
      use_regex: z.boolean().default(true),
    })
    const { add_prefix_space, use_regex } = parse(ByteLevel, stage, param)
    return [
      ...(add_prefix_space ? [{ type: 'prefix-space' } as const] : []),
      ...(use_regex ? [isolated(gpt2Words)] : []),
      { type: 'byte-characters' },
    ]
  },
  Metaspace(stage, param) {
    const Metaspace = z.object({
      replacement: z.string().min(1),
      prepend_scheme: z.enum(['always', 'first', 'never']).optional(),
      add_prefix_space: z.boolean().default(true),
      split: z.boolean().default(true),
    })
    const { add_prefix_space, prepend_scheme, replacement, split } = parse(Metaspace, stage, param)
    const prepend = prepend_scheme ?? (add_prefix_space ? 'always' : 'never')
    return [{ type: 'metaspace', space: replacement, prepend, split }]
  },
  Punctuation(stage, param) {
    const { behavior } = parse(z.object({ behavior: Behavior.default('Isolated') }), stage, param)
    return [
      {
        type: 'split',
        pattern: fromOniguruma(punctuation),
        behavior: behaviors[behavior],
        invert: false,
      },
    ]
  },
  Whitespace: () => [
    { type: 'split', pattern: fromOniguruma('\\w+|[^\\w\\s]+'), behavior: 'removed', invert: true },
  ],
  WhitespaceSplit: () => [
    { type: 'split', pattern: fromOniguruma('\\s+'), behavior: 'removed', invert: false },
  ],
}

/** How a tokenizer splits a text into words; the mapping of bytes at the end is left out, as words are bytes then. */
export function wordSplitting(file: TokenizerFile): Pick<TokenizerHead, 'words' | 'alphabet'> {
  const words = flattenStages(file.pre_tokenizer, 'pretokenizers').flatMap((stage) =>
    rowOf(wordStages, stage, 'pre_tokenizer')(stage, 'pre_tokenizer'),
  )
  const mapped = words.filter(({ type }) => type === 'byte-characters').length
  if (mapped > 1) refuseTokenizer('pre_tokenizer', 'it maps bytes twice')
  if (mapped === 0) return { words, alphabet: 'characters' }
  return { words: words.at(-1)?.type === 'byte-characters' ? words.slice(0, -1) : words, alphabet: 'bytes' }
}

function rowOf<T>(table: Readonly<Record<string, T>>, { type }: Stage, param: string): T {
  const row = Object.hasOwn(table, type) ? table[type] : undefined
  return row ?? refuseTokenizer(param, `${type} is not supported; ${Object.keys(table).join(', ')} are`)
}

const unicode = (form: 'NFC' | 'NFD' | 'NFKC' | 'NFKD') => (): NormalizerStep[] => [{ type: 'unicode', form }]

const normalizers: Readonly<Record<string, (stage: Stage) => NormalizerStep[]>> = {
  NFC: unicode('NFC'),
  NFD: unicode('NFD'),
  NFKC: unicode('NFKC'),
  NFKD: unicode('NFKD'),
  Lowercase: () => [{ type: 'lowercase' }],
  Prepend(stage) {
    const { prepend } = parse(z.object({ prepend: z.string() }), stage, 'normalizer')
    return [{ type: 'prepend', text: prepend }]
  },
  Replace(stage) {
    const { content, pattern } = parse(
      z.object({ pattern: Pattern, content: z.string() }),
      stage,
      'normalizer',
    )
    return [{ type: 'replace', pattern: patternSource(pattern, 'normalizer'), content }]
  },
  Strip(stage) {
    const sides = z.object({ strip_left: z.boolean().default(true), strip_right: z.boolean().default(true) })
    const { strip_left, strip_right } = parse(sides, stage, 'normalizer')
    const patterns = [
      ...(strip_left ? ['^\\p{White_Space}+'] : []),
      ...(strip_right ? ['\\p{White_Space}+$'] : []),
    ]
    return patterns.map((pattern) => ({ type: 'replace', pattern, content: '' }))
  },
}

export function normalizerSteps(file: TokenizerFile): NormalizerStep[] {
  return flattenStages(file.normalizer, 'normalizers').flatMap((stage) =>
    rowOf(normalizers, stage, 'normalizer')(stage),
  )
}

const TemplatePart = z.union([
  z.object({ SpecialToken: z.object({ id: z.string() }) }),
  z.object({ Sequence: z.object({ id: z.string() }) }),
])
const Template = z.object({
  single: z.array(TemplatePart).max(64),
  special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int().min(0)).max(64) })),
})
const NamedToken = z.tuple([z.string(), z.int().min(0)])
const BeginAndEnd = z.object({ cls: NamedToken, sep: NamedToken })

type Frame = Pick<TokenizerHead, 'before' | 'after'>
const beginAndEnd = (stage: Stage): Frame => {
  const { cls, sep } = parse(BeginAndEnd, stage, 'post_processor')
  return { before: [cls[1]], after: [sep[1]] }
}

const postProcessors: Readonly<Record<string, (stage: Stage) => Frame>> = {
  ByteLevel: () => ({ before: [], after: [] }),
  TemplateProcessing(stage) {
    const { single, special_tokens } = parse(Template, stage, 'post_processor')
    const text = single.findIndex((part) => 'Sequence' in part)
    if (text === -1) refuseTokenizer('post_processor', 'its template has no place for the text')
    const ids = (parts: typeof single) =>
      parts.flatMap((part) =>
        'SpecialToken' in part ? (special_tokens[part.SpecialToken.id]?.ids ?? []) : [],
      )
    return { before: ids(single.slice(0, text)), after: ids(single.slice(text + 1)) }
  },
  RobertaProcessing: beginAndEnd,
  BertProcessing: beginAndEnd,
}

/** The tokens that a tokenizer puts around a whole prompt. */
export function promptFrame(file: TokenizerFile): Frame {
  const frames = flattenStages(file.post_processor, 'processors').map((stage) =>
    rowOf(postProcessors, stage, 'post_processor')(stage),
  )
  return {
    before: frames.toReversed().flatMap(({ before }) => before),
    after: frames.flatMap(({ after }) => after),
  }
}

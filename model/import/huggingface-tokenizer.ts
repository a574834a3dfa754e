import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { issuesOf } from '../../shared/issues.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { readJsonFile, readTextFile, requireJsonFile } from '../backbone/json-file.ts'
import { chosenTemplate, type StatedTemplate } from './chat-template.ts'
import { statedTokens } from './conversation.ts'
import { checkTokenizer, parseTokenizer, type TokenizerJson, tokenId, tokenizerIn } from './tokenizer.ts'

const ids = z
  .union([z.int(), z.array(z.int())], { error: 'it must be a token id, or a list of them' })
  .nullish()
  .transform((value) => (value === null || value === undefined ? [] : [value].flat()))
const tokenText = z
  .union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish()

const EndTokens = z.looseObject({ eos_token_id: ids })
const ModelConfig = EndTokens.extend({ text_config: EndTokens.nullish() })
const SpecialTokens = z.looseObject({ bos_token: tokenText, eos_token: tokenText })
const Templates = z.looseObject({
  chat_template: z
    .union([
      z.string(),
      z.array(z.looseObject({ name: z.string(), template: z.string() })),
      z.record(z.string(), z.string()),
    ])
    .nullish(),
})
const TokenizerConfig = SpecialTokens.extend(Templates.shape)

export interface TokenizerFiles {
  readonly tokenizer: TokenizerJson
  /** The beginning-of-sequence token, where the files state one. */
  readonly begin: number | undefined
  /** The tokens that end a response. */
  readonly end: readonly number[]
  readonly chat: StatedTemplate
}

/**
 * Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json, generation_config.json and the chat template,
 * which stands in chat_template.jinja, chat_template.json, tokenizer_config.json, processor_config.json or
 * additional_chat_templates, unless one is given. Throws `backbone_invalid`.
 */
export async function tokenizerFiles(
  folder: string,
  { modelConfig, vocab, chat }: { modelConfig: unknown; vocab: number; chat?: StatedTemplate | undefined },
): Promise<TokenizerFiles> {
  const path = join(folder, 'tokenizer.json')
  const json = await requireJsonFile(path, JSON.parse)
  const tokenizer = tokenizerIn(path, () => {
    const parsed = parseTokenizer(json)
    checkTokenizer(parsed, vocab)
    return parsed
  })
  const settings = await parseOptional(folder, { name: 'tokenizer_config.json', schema: TokenizerConfig })
  const special = await parseOptional(folder, { name: 'special_tokens_map.json', schema: SpecialTokens })
  const name = 'generation_config.json'
  const generation = await parseOptional(folder, { name, schema: EndTokens })
  const model = parsedAs(ModelConfig, { raw: modelConfig, path: join(folder, 'config.json') })
  /** The first of these texts that is a token. */
  const id = (...texts: readonly (string | null | undefined)[]) =>
    texts
      .map((text) => (typeof text === 'string' ? tokenId(tokenizer, text) : undefined))
      .find((token) => token !== undefined)
  const stated = (tokens: readonly number[] = [], file: string) =>
    statedTokens(tokens, { path: join(folder, file), key: 'eos_token_id', vocab })
  const byText = id(settings?.eos_token, special?.eos_token)
  return {
    tokenizer,
    begin: id(settings?.bos_token, special?.bos_token),
    end: [
      ...(byText === undefined ? [] : [byText]),
      ...stated(generation?.eos_token_id, name),
      ...stated([...model.eos_token_id, ...(model.text_config?.eos_token_id ?? [])], 'config.json'),
    ],
    chat: chat ?? (await chatTemplate(folder, settings?.chat_template)),
  }
}

type Stated = z.infer<typeof Templates>['chat_template']

/** The first template that is not blank, in the order in which transformers looks for one. */
async function chatTemplate(folder: string, inTokenizerConfig: Stated): Promise<StatedTemplate> {
  const inFile = async (name: string) =>
    (await parseOptional(folder, { name, schema: Templates }))?.chat_template
  const places = [
    ['chat_template.jinja', await readTextFile(join(folder, 'chat_template.jinja'))],
    ['chat_template.json', await inFile('chat_template.json')],
    ['tokenizer_config.json', inTokenizerConfig],
    ['processor_config.json', await inFile('processor_config.json')],
    [additionalFolder, Object.fromEntries(await additionalTemplates(folder))],
  ] as const
  for (const [name, stated] of places) {
    const place = join(folder, name)
    const template = chosenTemplate(byName(stated), place)
    if (template !== '') return { template, place }
  }
  return { template: '', place: folder }
}

function byName(stated: Stated): ReadonlyMap<string, string> {
  if (stated === null || stated === undefined) return new Map()
  if (typeof stated === 'string') return new Map([['default', stated]])
  return new Map(
    Array.isArray(stated) ? stated.map(({ name, template }) => [name, template]) : Object.entries(stated),
  )
}

/** Templates beside the one that is for every chat, each in a file of its own name. */
const additionalFolder = 'additional_chat_templates'

async function additionalTemplates(folder: string): Promise<ReadonlyMap<string, string>> {
  const names = (await readdir(join(folder, additionalFolder)).catch(() => [])).filter((name) =>
    name.endsWith('.jinja'),
  )
  const templates = new Map<string, string>()
  for (const name of names.toSorted()) {
    const text = await readTextFile(join(folder, additionalFolder, name))
    if (text !== undefined) templates.set(name.slice(0, -'.jinja'.length), text)
  }
  return templates
}

async function parseOptional<S extends z.ZodType>(
  folder: string,
  { name, schema }: { name: string; schema: S },
): Promise<z.output<S> | undefined> {
  const path = join(folder, name)
  const raw = await readJsonFile(path)
  return raw === undefined ? undefined : parsedAs(schema, { raw, path })
}

function parsedAs<S extends z.ZodType>(
  schema: S,
  { raw, path }: { raw: unknown; path: string },
): z.output<S> {
  const parsed = schema.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(path, issuesOf(parsed.error))
  return parsed.data
}

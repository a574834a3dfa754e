import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { invalidBackbone } from './decoder-shape.ts'
import { readJsonFile, requireJsonFile } from './json-file.ts'
import { checkTokenizer, parseTokenizer, type TokenizerJson } from './tokenizer.ts'

const ids = z
  .union([z.int(), z.array(z.int())])
  .nullish()
  .transform((value) => (value === null || value === undefined ? [] : [value].flat()))
const tokenText = z
  .union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish()

const ModelConfig = z.looseObject({ eos_token_id: ids })
const GenerationConfig = z.looseObject({ eos_token_id: ids })
const TokenizerConfig = z.looseObject({
  bos_token: tokenText,
  eos_token: tokenText,
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
})

export interface TokenizerFiles {
  readonly tokenizer: TokenizerJson
  /** The beginning-of-sequence token, where the files state one. */
  readonly begin: number | undefined
  /** The tokens that end a response. */
  readonly end: readonly number[]
  /** Jinja source; empty for a model without one. */
  readonly template: string
}

/** Reads tokenizer.json, tokenizer_config.json, generation_config.json and chat_template.jinja. Throws `backbone_invalid`. */
export async function tokenizerFiles(
  folder: string,
  { modelConfig, vocab }: { modelConfig: unknown; vocab: number },
): Promise<TokenizerFiles> {
  const tokenizer = parseTokenizer(await requireJsonFile(join(folder, 'tokenizer.json')))
  const loaded = checkTokenizer(tokenizer, vocab)
  const settings = await parseOptional(folder, { name: 'tokenizer_config.json', schema: TokenizerConfig })
  const generation = await parseOptional(folder, { name: 'generation_config.json', schema: GenerationConfig })
  const model = ModelConfig.safeParse(modelConfig)
  const id = (text: string | null | undefined) =>
    typeof text === 'string' ? loaded.token_to_id(text) : undefined
  const end = [
    id(settings?.eos_token),
    ...(generation?.eos_token_id ?? []),
    ...(model.data?.eos_token_id ?? []),
  ].filter((token) => token !== undefined)
  return {
    tokenizer,
    begin: id(settings?.bos_token),
    end,
    template: await chatTemplate(folder, settings?.chat_template),
  }
}

async function chatTemplate(
  folder: string,
  inConfig: string | { name: string; template: string }[] | null | undefined,
): Promise<string> {
  const file = await readFile(join(folder, 'chat_template.jinja'), 'utf8').catch(() => undefined)
  if (file !== undefined) return file
  if (Array.isArray(inConfig)) return inConfig.find(({ name }) => name === 'default')?.template ?? ''
  return inConfig ?? ''
}

async function parseOptional<S extends z.ZodType>(
  folder: string,
  { name, schema }: { name: string; schema: S },
): Promise<z.infer<S> | undefined> {
  const raw = await readJsonFile(join(folder, name))
  if (raw === undefined) return undefined
  const parsed = schema.safeParse(raw)
  if (!parsed.success)
    throw invalidBackbone(join(folder, name), z.prettifyError(parsed.error).replaceAll('\n', ' '))
  return parsed.data
}

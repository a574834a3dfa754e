import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { issuesOf } from '../../shared/issues.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { readJsonFile, readTextFile, requireJsonFile } from '../backbone/json-file.ts'
import { chosenTemplate } from './chat-template.ts'
import { checkTokenizer, parseTokenizer, type TokenizerJson, tokenId } from './tokenizer.ts'

const ids = z
  .union([z.int(), z.array(z.int())])
  .nullish()
  .transform((value) => (value === null || value === undefined ? [] : [value].flat()))
const tokenText = z
  .union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish()

const ModelConfig = z.looseObject({ eos_token_id: ids })
const GenerationConfig = z.looseObject({ eos_token_id: ids })
const SpecialTokens = z.looseObject({ bos_token: tokenText, eos_token: tokenText })
const Templates = z.looseObject({
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
})
const TokenizerConfig = SpecialTokens.extend(Templates.shape)

export interface TokenizerFiles {
  readonly tokenizer: TokenizerJson
  /** The beginning-of-sequence token, where the files state one. */
  readonly begin: number | undefined
  /** The tokens that end a response. */
  readonly end: readonly number[]
  /** Jinja source; empty for a model without one. */
  readonly template: string
}

/**
 * Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json, generation_config.json and the chat template,
 * which stands in chat_template.jinja, chat_template.json, tokenizer_config.json or additional_chat_templates. Throws
 * `backbone_invalid`.
 */
export async function tokenizerFiles(
  folder: string,
  { modelConfig, vocab }: { modelConfig: unknown; vocab: number },
): Promise<TokenizerFiles> {
  const tokenizer = parseTokenizer(await requireJsonFile(join(folder, 'tokenizer.json'), JSON.parse))
  checkTokenizer(tokenizer, vocab)
  const settings = await parseOptional(folder, { name: 'tokenizer_config.json', schema: TokenizerConfig })
  const special = await parseOptional(folder, { name: 'special_tokens_map.json', schema: SpecialTokens })
  const generation = await parseOptional(folder, { name: 'generation_config.json', schema: GenerationConfig })
  const model = ModelConfig.safeParse(modelConfig)
  const id = (text: string | null | undefined) =>
    typeof text === 'string' ? tokenId(tokenizer, text) : undefined
  const end = [
    id(settings?.eos_token ?? special?.eos_token),
    ...(generation?.eos_token_id ?? []),
    ...(model.data?.eos_token_id ?? []),
  ].filter((token) => token !== undefined)
  return {
    tokenizer,
    begin: id(settings?.bos_token ?? special?.bos_token),
    end,
    template: await chatTemplate(folder, settings?.chat_template),
  }
}

type Stated = z.infer<typeof Templates>['chat_template']

async function chatTemplate(folder: string, inConfig: Stated): Promise<string> {
  const jinja = await readTextFile(join(folder, 'chat_template.jinja'))
  if (jinja !== undefined) return jinja
  const name = 'chat_template.json'
  const inFile = (await parseOptional(folder, { name, schema: Templates }))?.chat_template
  const [stated, path] =
    inFile === null || inFile === undefined
      ? [inConfig, join(folder, 'tokenizer_config.json')]
      : [inFile, join(folder, name)]
  if (Array.isArray(stated))
    return chosenTemplate(new Map(stated.map(({ name, template }) => [name, template])), path)
  return stated ?? chosenTemplate(await additionalTemplates(folder), join(folder, additionalFolder))
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
): Promise<z.infer<S> | undefined> {
  const raw = await readJsonFile(join(folder, name))
  if (raw === undefined) return undefined
  const parsed = schema.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(join(folder, name), issuesOf(parsed.error))
  return parsed.data
}

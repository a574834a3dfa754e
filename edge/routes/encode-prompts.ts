import type { Context } from 'hono'
import { checkPromptLength } from '../../shared/adapter-fit.ts'
import { promptPlace } from '../../shared/api/prompts.ts'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import { checkHeader } from '../store/late-tails.ts'
import { type Answerer, checkSeveral } from '../tenants/answerers.ts'
import { chooseTarget } from '../tenants/choose-target.ts'
import { loadCodec, type ModelWithCodec } from '../tenants/load-codec.ts'
import { promptRowsOf, type ResolvedModel, resolveModel, tailOf } from '../tenants/resolve-model.ts'

/** One prompt. */
export interface Encoded {
  readonly ids: readonly number[]
  /** How many of them stand behind late rows, where that is not the adapter's own number. */
  readonly tail?: number | undefined
  /** How many of them stand in front of the newest turn, where the adapter's rows stand there; absent where none do. */
  readonly turn?: number | undefined
  /** Tokens of the template's generation header, where late rows stand in a conversation; absent of raw prompts. */
  readonly header?: number | undefined
}

export interface EncodedPrompts extends ModelWithCodec {
  /** Who answers: one model, or several that answer each prompt together; `model` is the one with the most prompt rows. */
  readonly answerers: readonly Answerer[]
  readonly prompts: readonly (readonly number[])[]
  /** The `tail` of each prompt (see `Encoded`). */
  readonly tails: readonly (number | undefined)[]
  /** The `turn` of each prompt. */
  readonly turns: readonly (number | undefined)[]
}

interface Asking {
  readonly model?: string | undefined
  /** Instead of `model`: several that answer together. */
  readonly models?: readonly string[] | undefined
  readonly user: string | undefined
  /** The request's field that holds the prompts; without it no model is to run them, and they may be short. */
  readonly param?: 'messages' | 'prompt' | 'input'
}

/** Finds the model, or models, that a request asks for and has its prompts written in that model's tokens. */
export async function encodePrompts<Written extends { readonly prompts: readonly Encoded[] }>(
  { model: one = '', models, param, user }: Asking,
  c: Context<TenantApp>,
  encode: (open: ModelWithCodec, answerers: readonly Answerer[]) => Written,
): Promise<EncodedPrompts & Omit<Written, 'prompts'>> {
  const arrived = performance.now()
  const asker = { requestId: c.get('requestId'), user }
  const answerers = await Promise.all(
    (models ?? [one]).map(async (asked, at): Promise<Answerer> => {
      const model = await resolveModel(asked, {
        tenant: c.get('tenantRecord'),
        reader: readerOf(c),
        choose: (alias, record) => chooseTarget(alias, record, asker),
        param: nameOf(at, models),
        sharesPrefill: models !== undefined,
      })
      return { asked, model }
    }),
  )
  if (models !== undefined) checkSeveral(answerers)
  const model = widest(answerers.map((answerer) => answerer.model))
  const codec = await loadCodec(model.record, c.get('platform'))
  const found = performance.now()
  const { prompts, ...rest } = encode({ model, codec }, answerers)
  const timings = c.get('timings')
  timings.push({ name: 'resolve', ms: found - arrived })
  timings.push({ name: 'tokenize', ms: performance.now() - found })
  if (param !== undefined)
    for (const { header } of prompts)
      for (const [at, answerer] of answerers.entries())
        if (header !== undefined) checkHeader(answerer, { header, param: nameOf(at, models) })
  for (const own of answerers.map((answerer) => tailOf(answerer.model)))
    if (own !== undefined && param !== undefined)
      for (const [at, { ids, tail = own }] of prompts.entries())
        checkPromptLength(
          { tokens: ids.length, tail },
          param === 'messages' ? param : promptPlace(param, { at, of: prompts.length }),
        )
  return {
    ...rest,
    answerers,
    model,
    codec,
    prompts: prompts.map(({ ids }) => ids),
    tails: prompts.map(({ tail }) => tail),
    turns: prompts.map(({ turn }) => turn),
  }
}

/** The request's field that names one of those that answer. */
const nameOf = (at: number, models: Asking['models']): string =>
  models === undefined ? 'model' : `models[${at}]`

/** The models of a request as the client named them. */
export const askedOf = (answerers: readonly Answerer[]): string =>
  answerers.map(({ asked }) => asked).join(',')

function widest(models: readonly ResolvedModel[]): ResolvedModel {
  return models.reduce((most, model) => (promptRowsOf(model) > promptRowsOf(most) ? model : most))
}

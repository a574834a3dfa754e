import type { Context } from 'hono'
import type { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import { chooseTarget } from '../tenants/choose-target.ts'
import { loadCodec } from '../tenants/load-codec.ts'
import { type ResolvedModel, resolveModel } from '../tenants/resolve-model.ts'

export interface OpenModel {
  readonly model: ResolvedModel
  readonly codec: TextCodec
}

export interface EncodedPrompts extends OpenModel {
  readonly asked: string
  readonly prompts: readonly (readonly number[])[]
}

/** Finds the model that a request asks for and has its prompts written in that model's tokens. */
export async function encodePrompts(
  { model: asked, user }: { readonly model: string; readonly user: string | undefined },
  c: Context<TenantApp>,
  encode: (open: OpenModel) => readonly (readonly number[])[],
): Promise<EncodedPrompts> {
  const arrived = performance.now()
  const asker = { requestId: c.get('requestId'), user }
  const model = await resolveModel(asked, {
    tenant: c.get('tenantRecord'),
    reader: readerOf(c),
    choose: (alias, record) => chooseTarget(alias, record, asker),
  })
  const codec = await loadCodec(model.record, c.get('platform'))
  const found = performance.now()
  const prompts = encode({ model, codec })
  const timings = c.get('timings')
  timings.push({ name: 'resolve', ms: found - arrived })
  timings.push({ name: 'tokenize', ms: performance.now() - found })
  return { asked, model, codec, prompts }
}

import type { Context } from 'hono'
import { readerOf } from '../http/reader.ts'
import type { TenantApp } from '../request-context.ts'
import { chooseTarget } from '../tenants/choose-target.ts'
import { loadCodec, type OpenModel } from '../tenants/load-codec.ts'
import { resolveModel } from '../tenants/resolve-model.ts'

export interface EncodedPrompts extends OpenModel {
  readonly asked: string
  readonly prompts: readonly (readonly number[])[]
}

/** Finds the model that a request asks for and has its prompts written in that model's tokens. */
export async function encodePrompts<Encoded extends Pick<EncodedPrompts, 'prompts'>>(
  { model: asked, user }: { readonly model: string; readonly user: string | undefined },
  c: Context<TenantApp>,
  encode: (open: OpenModel) => Encoded,
): Promise<EncodedPrompts & Encoded> {
  const arrived = performance.now()
  const asker = { requestId: c.get('requestId'), user }
  const model = await resolveModel(asked, {
    tenant: c.get('tenantRecord'),
    reader: readerOf(c),
    choose: (alias, record) => chooseTarget(alias, record, asker),
  })
  const codec = await loadCodec(model.record, c.get('platform'))
  const found = performance.now()
  const encoded = encode({ model, codec })
  const timings = c.get('timings')
  timings.push({ name: 'resolve', ms: found - arrived })
  timings.push({ name: 'tokenize', ms: performance.now() - found })
  return { asked, model, codec, ...encoded }
}

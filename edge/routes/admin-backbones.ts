import type { Context } from 'hono'
import { z } from 'zod'
import { type BackboneList, PutBackboneRequest } from '../../shared/api/admin.ts'
import { parseRequest } from '../../shared/api/parse.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import { fromSent } from '../../shared/tokenizer/sent-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { checkTables, readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import { parseJson, readBytes } from '../http/json-body.ts'
import { readerOf } from '../http/reader.ts'
import { pathParameter } from '../http/request-parts.ts'
import type { App } from '../request-context.ts'
import { type BackboneRecord, maxStoredBytes, storeKeys } from '../store/records.ts'
import { listBackbones } from '../tenants/read.ts'

/** `PUT /admin/v1/backbones/{slug}`. Refuses what this worker could not tokenize with. */
export async function putBackbone(c: Context<App>): Promise<Response> {
  const { backbone, tokenizer } = parseRequest(
    PutBackboneRequest,
    parseJson(await readBytes(c.req.raw, maxStoredBytes)),
  )
  if (backbone.slug !== pathParameter(c, 'slug'))
    throw new QuartetError('invalid_request', 'backbone.slug differs from the path', {
      param: 'backbone.slug',
    })
  const compiled = checkUsable(backbone, tokenizer)
  const sha256 = await sha256Hex(compiled)
  const { caches, store } = c.get('platform')
  await store.putTokenizer(sha256, compiled)
  const record: BackboneRecord = { backbone, tokenizer: sha256, createdAt: Date.now() }
  await store.putRecord(storeKeys.backbone(backbone.slug), record)
  caches.forgetBackbone(backbone.slug)
  return c.body(null, 204)
}

/** `GET /admin/v1/backbones`. */
export async function getBackbones(c: Context<App>): Promise<Response> {
  const backbones = (await listBackbones(readerOf(c))).map(
    ({ backbone: { contextLength, digest, slug } }) => ({
      slug,
      digest,
      contextLength,
    }),
  )
  return c.json({ backbones } satisfies BackboneList)
}

/** The compiled tokenizer, once it and the template are known to work. */
function checkUsable(
  backbone: PutBackboneRequest['backbone'],
  tokenizer: PutBackboneRequest['tokenizer'],
): Uint8Array<ArrayBuffer> {
  const compiled = attempt('tokenizer', () => fromSent(tokenizer))
  const codec = attempt('tokenizer', () => new TextCodec(checkTables(readTables(compiled))))
  // A model without one answers completions alone.
  if (backbone.chat.template === '') return compiled
  attempt('backbone.chat.template', () => new ChatTemplate(backbone, codec).check(backbone.contextLength))
  return compiled
}

function attempt<T>(param: string, use: () => T): T {
  try {
    return use()
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause)
    throw new QuartetError('invalid_request', `${param}: ${reason}`, { param, cause })
  }
}

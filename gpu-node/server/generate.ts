import { parseRequest } from '../../shared/api/parse.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { TenantId } from '../../shared/ids.ts'
import type { NodeTokenClaims } from '../../shared/node-token.ts'
import { type GenerateEvent, GenerateRequest, maxGenerateBytes } from '../../shared/wire.ts'
import type { CallTrace } from '../engine/call-trace.ts'
import type { Engine } from '../engine/engine.ts'
import type { EngineRequest, PinnedAdapter } from '../engine/sequence.ts'
import { DeferredGrammar } from '../grammar/deferred-grammar.ts'
import type { Grammars } from '../grammar/grammars.ts'
import type { Settlements } from '../settlements/settlements.ts'
import { type Authorization, requireClaim } from './authorization.ts'
import { pinWanted } from './pin-wanted.ts'
import { parseJson } from './request-body.ts'
import type { Serving } from './serving.ts'

interface GenerateParts {
  readonly authorization: Authorization
  readonly serving: Serving
  readonly settlements: Settlements
  readonly trace: CallTrace | undefined
}

/** `POST /v1/generate`: newline-delimited GenerateEvents, each written as soon as it is there. */
export async function generate(
  request: Request,
  { authorization, serving, settlements, trace }: GenerateParts,
): Promise<Response> {
  const arrivedAt = performance.now()
  const leave = serving.model?.engine.arrivals.enter()
  try {
    const { body, claims } = await authorization.admit(request, {
      action: 'generate',
      maxBytes: maxGenerateBytes,
    })
    const wanted = wantedBy(body.bytes, claims)
    const { adapters, digest, engine, grammars, stack } = serving.open()
    if (wanted.backbone !== digest)
      throw new QuartetError(
        'backbone_mismatch',
        `this node runs the backbone ${digest}, not ${wanted.backbone}`,
        {
          param: 'backbone',
        },
      )
    const adapter = pinWanted(wanted, { pin: (part) => adapters.pin(claims.sub, part), stack })
    const grammar = await grammarOf(wanted, { grammars, adapter, owner: claims.sub })
    settlements.acknowledge(wanted.acknowledge ?? [], claims.sub)
    const engineRequest = {
      tenant: claims.sub,
      tenancy: claims.tenancy,
      request: wanted,
      adapter,
      grammar,
      signal: request.signal,
      arrivedAt,
      trace,
    }
    const events = submit(engineRequest, { engine, settlements })
    return new Response(lines(events), { headers: { 'content-type': 'application/x-ndjson' } })
  } finally {
    leave?.()
  }
}

/** The adapter stays pinned while a new grammar is compiled. */
async function grammarOf(
  { grammar, grammarAfter, sampling, stopTokens }: GenerateRequest,
  {
    adapter,
    grammars,
    owner,
  }: { adapter: PinnedAdapter | null; grammars: Grammars | undefined; owner: TenantId },
): Promise<EngineRequest['grammar']> {
  if (grammar === undefined) return undefined
  try {
    if (grammars === undefined)
      throw new QuartetError('grammar_invalid', "this model's tokenizer does not go with grammars", {
        param: 'grammar',
      })
    // A request that steers single tokens must find its way around them.
    const isSpelledFreely = sampling.logitBias.length > 0 || (sampling.badWords ?? []).length > 0
    const session = await grammars.open(grammar, { stopTokens, owner, isSpelledFreely })
    return grammarAfter === undefined ? session : new DeferredGrammar(session, grammarAfter)
  } catch (refusal) {
    adapter?.release()
    throw refusal
  }
}

/** A request that the engine takes will have a settlement; one that it refuses has none. */
function submit(
  engineRequest: EngineRequest,
  { engine, settlements }: { engine: Engine; settlements: Settlements },
): AsyncIterable<readonly GenerateEvent[]> {
  const withdraw = settlements.begin(engineRequest)
  try {
    return engine.submit(engineRequest)
  } catch (refusal) {
    withdraw()
    throw refusal
  }
}

function wantedBy(bytes: Uint8Array, claims: NodeTokenClaims): GenerateRequest {
  const wanted = parseRequest(GenerateRequest, parseJson(bytes))
  requireClaim(wanted.requestId === claims.rid, 'request')
  requireClaim(wanted.adapter === claims.adapter, 'adapter')
  requireClaim(wanted.behind?.join() === claims.behind?.join(), 'adapter')
  return wanted
}

/** One write for the events of one step. Cancelling the stream cancels the request. */
function lines(events: AsyncIterable<readonly GenerateEvent[]>): ReadableStream<Uint8Array> {
  const pieces = events[Symbol.asyncIterator]()
  return new ReadableStream(
    {
      async pull(controller) {
        const piece = await pieces.next()
        if (piece.done) controller.close()
        else
          controller.enqueue(Buffer.from(piece.value.map((event) => `${JSON.stringify(event)}\n`).join('')))
      },
      async cancel() {
        await pieces.return?.()
      },
    },
    { highWaterMark: 0 },
  )
}

import { Engine } from '../../gpu-node/engine/engine.ts'
import type { LoadedAdapter } from '../../model/runtime/backend.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { QuartetError } from '../../shared/errors.ts'
import { newRequestId, TenantId } from '../../shared/ids.ts'
import type { GenerateRequest } from '../../shared/wire.ts'

export interface GreedyOptions {
  readonly backend: OnnxBackend
  readonly adapter: LoadedAdapter | undefined
  readonly prompts: readonly (readonly number[])[]
  readonly maxTokens: number
  readonly stopTokens: readonly number[]
  readonly onAnswer: () => void
}

const tenant = TenantId.parse('evaluation')
const hour = 3_600_000

/** The likeliest continuation of each prompt, token by token, without its stop token: through the engine, in batches. */
export async function greedyAnswers(options: GreedyOptions): Promise<readonly (readonly number[])[]> {
  const { backend, prompts, onAnswer } = options
  const waiting = prompts.length
  const engine = new Engine({ backend, queue: { total: waiting, perTenant: waiting } })
  const answers = prompts.map((): readonly number[] => [])
  const remaining = prompts.entries()
  const answerInTurn = async () => {
    for (const [index, prompt] of remaining) {
      answers[index] = await answer(engine, { ...options, prompt })
      onAnswer()
    }
  }
  await Promise.all(Array.from({ length: backend.limits.maxBatch }, answerInTurn))
  return answers
}

async function answer(
  engine: Engine,
  { backend, adapter, prompt, maxTokens, stopTokens }: GreedyOptions & { prompt: readonly number[] },
): Promise<readonly number[]> {
  const request: GenerateRequest = {
    requestId: newRequestId(),
    backbone: backend.backbone,
    adapter: null,
    prompt: [...prompt],
    maxTokens,
    sampling: {
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
      frequencyPenalty: 0,
      presencePenalty: 0,
      logitBias: [],
    },
    stopTokens: [...stopTokens],
    logprobs: null,
    timeoutMs: hour,
  }
  const pinned = adapter === undefined ? null : { loaded: adapter, release: () => {} }
  const { signal } = new AbortController()
  const ids: number[] = []
  for await (const events of engine.submit({ tenant, request, adapter: pinned, signal }))
    for (const event of events) {
      if (event.type === 'error') throw new QuartetError('node_error', event.message)
      if (event.type === 'token' && event.stop !== true) ids.push(event.id)
    }
  return ids
}

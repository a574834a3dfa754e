import type { GenerateEvent, GenerateRequest, Usage } from '../../shared/wire.ts'
import type { NodeAddress } from '../fleet/nodes.ts'
import { NodeFailure } from './node-failures.ts'

export interface Asked {
  readonly node: NodeAddress
  readonly request: Pick<GenerateRequest, 'prompt' | 'maxTokens'>
  /** Rows that the adapter makes; 0 for the untuned backbone. */
  readonly promptRows: number
  /** Of the backbone; undefined where its record does not say. */
  readonly vocab: number | undefined
}

/**
 * A node's events, held to what it was asked for, whatever the node is: tokens of the vocabulary, no more than allowed,
 * and a count that is theirs. An `error` event and what was not asked for throw NodeFailure, after what came before it.
 */
export async function* asAsked(
  events: AsyncGenerator<readonly GenerateEvent[], void>,
  { node, promptRows, request, vocab }: Asked,
): AsyncGenerator<readonly GenerateEvent[], void> {
  const expected = { promptTokens: request.prompt.length, completionTokens: 0 }
  const hasOwnRows = (usage: Usage) =>
    (usage.promptRows ?? 0) <= promptRows && (usage.cachedTokens ?? 0) <= usage.promptTokens
  const isOwn = (usage: Usage) =>
    usage.promptTokens === expected.promptTokens &&
    usage.completionTokens === expected.completionTokens &&
    hasOwnRows(usage)
  const isUnknown = (id: number) => vocab !== undefined && id >= vocab
  const failureIn = (event: GenerateEvent): NodeFailure | undefined => {
    const broken = (what: string) => new NodeFailure('other', { message: `node ${node.id} ${what}` })
    switch (event.type) {
      case 'token':
        if (isUnknown(event.id) || event.top?.some(([id]) => isUnknown(id)) === true)
          return broken(`sent a token that the vocabulary of ${vocab} does not have`)
        if (expected.completionTokens === request.maxTokens)
          return broken(`sent more than the ${request.maxTokens} tokens that it was asked for`)
        expected.completionTokens += 1
        return undefined
      case 'done':
        if (isOwn(event.usage)) return undefined
        return broken(`counted ${JSON.stringify(event.usage)} where there were ${JSON.stringify(expected)}`)
      case 'error':
        return new NodeFailure(event.code, {
          message: `node ${node.id} failed: ${event.code} ${event.message}`,
          // It may have failed within the prompt.
          usage:
            event.usage?.completionTokens === expected.completionTokens &&
            event.usage.promptTokens <= expected.promptTokens &&
            hasOwnRows(event.usage)
              ? event.usage
              : undefined,
        })
    }
  }
  for await (const group of events) {
    let failure: NodeFailure | undefined
    const end = group.findIndex((event) => {
      failure = failureIn(event)
      return failure !== undefined
    })
    const sound = end === -1 ? group : group.slice(0, end)
    if (sound.length > 0) yield sound
    if (failure !== undefined) throw failure
  }
}

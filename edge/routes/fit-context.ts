import { promptPlace } from '../../shared/api/prompts.ts'
import { QuartetError } from '../../shared/errors.ts'
import { kvRows } from '../../shared/kv-rows.ts'
import { promptRowsOf, type ResolvedModel } from '../tenants/resolve-model.ts'

/** Tokens a prompt may have so that one more can follow it. */
export function promptRoom(model: ResolvedModel): number {
  return model.record.backbone.contextLength - promptRowsOf(model) - 1
}

export interface ContextNeed {
  readonly model: ResolvedModel
  readonly requested: number | undefined
  /** The most tokens for a request that names no limit. */
  readonly cap: number
  readonly param: 'messages' | 'prompt' | 'input'
  /** The name of `requested` in the request; absent where a request has none and generates nothing. */
  readonly limitParam?: 'max_tokens' | 'max_completion_tokens' | 'max_output_tokens'
}

/** How many tokens to generate. Throws `context_length_exceeded` before any node is touched. */
export function checkContext(
  prompts: readonly (readonly number[])[],
  { cap, limitParam, model, param, requested }: ContextNeed,
): number {
  const { contextLength } = model.record.backbone
  const rows = promptRowsOf(model)
  const longest = Math.max(...prompts.map(({ length }) => length))
  const rowsWith = (maxTokens: number) => kvRows({ promptRows: rows, promptTokens: longest, maxTokens })
  const room = contextLength - rowsWith(0)
  if ((requested ?? 1) > room) {
    const adapter = rows > 0 ? ` and ${rows} of the adapter${model.adapters.length > 1 ? 's' : ''}` : ''
    const at = prompts.findIndex(({ length }) => length === longest)
    const place = param === 'messages' ? param : promptPlace(param, { at, of: prompts.length })
    const which = prompts.length > 1 ? place : 'the prompt'
    // No prompt is short enough for a limit that takes the whole context.
    const isLimitAlone = limitParam !== undefined && (requested ?? 1) > contextLength - rows - 1
    const shorten = isLimitAlone ? [] : [`shorten ${which}`]
    const lower = limitParam === undefined ? [] : [`lower ${limitParam}`]
    throw new QuartetError(
      'context_length_exceeded',
      `the model's context is ${contextLength} tokens; you asked for ${rowsWith(requested ?? 1)} (${longest} in ${which}${adapter}, ${requested ?? 1} to generate); ${[...shorten, ...lower].join(' or ')}`,
      { param: isLimitAlone ? limitParam : place },
    )
  }
  return requested ?? Math.min(room, cap)
}

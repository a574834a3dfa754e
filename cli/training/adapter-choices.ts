import { type AdapterChoices, choicesOf } from '../../shared/training/describe-adapter.ts'
import type { AdapterStart } from '../../training/start/start.ts'
import { CliFailure } from '../command/failure.ts'
import type { TrainCommandOptions } from './options.ts'

type ChoiceOptions = Pick<TrainCommandOptions, keyof AdapterChoices | 'init' | 'prompts'>

/**
 * The settings of the options, and else those that follow from the start. Raw prompts have no header to stand in front of,
 * and a text stands where it would be written.
 */
export function adapterChoices(options: ChoiceOptions, start: AdapterStart): AdapterChoices {
  const { activation, anchor, at, generator, kind = 'iapt', m, placement, pool, rows, window } = options
  const given = { activation, anchor, at, generator, m, placement, pool, rows, window }
  const atStart = { kind, ...given, placement: placement ?? 'after-first' } as const
  if (start.from === 'text') return { ...atStart, rows: rows ?? start.tokens.length }
  if (start.from === 'fresh') return options.prompts === 'raw' ? atStart : { kind, ...given }
  const chosen = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  const from = choicesOf(start.file.metadata)
  if (options.kind !== undefined && kind !== from.kind)
    throw new CliFailure(`--init ${options.init} is an adapter of kind ${from.kind} and not ${kind}`, {
      remedy: 'leave --kind out, or start in another way',
    })
  return { ...from, ...chosen }
}

import type { AdapterMetadata } from '../../shared/adapter-file.ts'
import { partsOf, ratesOf } from '../../training/parameter-groups.ts'
import type { LearningRates } from '../../training/settings.ts'
import { CliFailure } from '../command/failure.ts'
import type { TrainCommandOptions } from './options.ts'

/** Options of tensors that some adapters have not got. */
type Option =
  | 'rate'
  | 'anchorRate'
  | 'staticRate'
  | 'rationalRate'
  | 'rational'
  | 'downDeviation'
  | 'optimizer'

/** `of`: the tensors that an option is about, by their rate or their part. */
const options: {
  readonly [O in Option]: { readonly of: keyof LearningRates | 'down' | 'up'; readonly says: string }
} = {
  rate: {
    of: 'generator',
    says: '--rate needs a generator, which kind static has not (its rows learn at --static-rate)',
  },
  anchorRate: { of: 'anchor', says: '--anchor-rate needs --anchor own' },
  staticRate: { of: 'static', says: '--static-rate needs --kind static' },
  rationalRate: { of: 'rational', says: '--rational-rate needs --activation rational' },
  rational: { of: 'rational', says: '--rational needs --activation rational' },
  optimizer: { of: 'up', says: '--optimizer needs a generator, which kind static has not' },
  downDeviation: { of: 'down', says: '--down-deviation needs --kind iapt, idpg or lpt' },
}

const isOption = (name: string): name is Option => Object.hasOwn(options, name)

/**
 * Refuses options that would change nothing of this adapter. Asked once its metadata are known: with `--init FILE` its
 * kind, anchor and activation are those of the file.
 */
export function refuseIdleOptions(given: Pick<TrainCommandOptions, Option>, metadata: AdapterMetadata): void {
  const has: ReadonlySet<string> = new Set([...ratesOf(metadata), ...partsOf(metadata)])
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || !isOption(name)) continue
    const { of, says } = options[name]
    if (!has.has(of)) throw new CliFailure(says, { remedy: 'leave it out' })
  }
}

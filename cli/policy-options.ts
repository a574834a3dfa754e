import { type Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { TenantPolicyChange } from '../shared/api/policy.ts'
import { CliFailure } from './command/failure.ts'

/** The limits of a tenant as options; `none` lifts one. A new limit is one row here. */
const limits = {
  requestsPerMinute: ['--requests-per-minute <n>', 'requests per minute'],
  tokensPerMinute: ['--tokens-per-minute <n>', 'tokens per minute'],
  concurrentRequests: ['--concurrent-requests <n>', 'requests at once'],
  tokensPerDay: ['--tokens-per-day <n>', 'tokens per day (UTC)'],
  tokensPerMonth: ['--tokens-per-month <n>', 'tokens per month (UTC)'],
  adapterBytes: ['--adapter-bytes <n>', 'bytes of all adapters together'],
  fileBytes: ['--file-bytes <n>', 'bytes of all files together'],
  trainingTokensPerMonth: ['--training-tokens-per-month <n>', 'tokens trained per month (UTC)'],
  shadowTokensPerDay: ['--shadow-tokens-per-day <n>', 'tokens of shadows per day (UTC), 0 by default'],
} as const satisfies Partial<Record<keyof TenantPolicyChange, readonly [flag: string, what: string]>>

const lifted = 'none'

function checkLimit(text: string): string {
  if (text === lifted || /^[0-9]{1,15}$/.test(text)) return text
  throw new InvalidArgumentError('It must be a whole number, or none.')
}

function checkShare(text: string): string {
  if (/^(0|1|0?\.[0-9]{1,6}|1\.0{1,6})$/.test(text)) return text
  throw new InvalidArgumentError('It must be a number from 0 to 1, such as 0.1.')
}

export function addPolicyOptions(command: Command): Command {
  for (const [flag, what] of Object.values(limits))
    command.addOption(new Option(flag, `at most so many ${what}; none lifts the limit`).argParser(checkLimit))
  return command
    .addOption(
      new Option(
        '--cached-token-share <share>',
        'how much of its price a cached prompt token costs, from 0 (free) to 1 (the full price)',
      ).argParser(checkShare),
    )
    .addOption(
      new Option(
        '--batch-token-share <share>',
        'how much of its price a token of a batch costs, from 0 (free) to 1 (the full price); 0.5 by default',
      ).argParser(checkShare),
    )
    .option('--models <names>', 'the models it may ask for, separated by commas; all is every one')
    .addOption(
      new Option(
        '--unknown-parameters <what>',
        'what becomes of a request with a field that nobody knows: it is answered with a header that names the field, or refused',
      ).choices(['answer', 'refuse']),
    )
}

const Options = z.record(z.string(), z.unknown()).and(
  z.object({
    cachedTokenShare: z.string().optional(),
    batchTokenShare: z.string().optional(),
    models: z.string().optional(),
    unknownParameters: z.string().optional(),
  }),
)

/** Reads the policy change that the options ask for; it is empty when no option is given. */
export function policyOf(command: Command): TenantPolicyChange {
  const { batchTokenShare, cachedTokenShare, models, unknownParameters, ...options } = Options.parse(
    command.opts(),
  )
  const given = Object.keys(limits).filter((name) => options[name] !== undefined)
  const policy = TenantPolicyChange.safeParse({
    ...Object.fromEntries(
      given.map((name) => [name, options[name] === lifted ? null : Number(options[name])]),
    ),
    ...(cachedTokenShare === undefined ? {} : { cachedTokenShare: Number(cachedTokenShare) }),
    ...(batchTokenShare === undefined ? {} : { batchTokenShare: Number(batchTokenShare) }),
    ...(unknownParameters === undefined ? {} : { strictParameters: unknownParameters === 'refuse' }),
    ...(models === undefined ? {} : { aliases: models === 'all' ? null : models.split(',') }),
  })
  if (policy.success) return policy.data
  const [issue] = policy.error.issues
  const says = issue?.message ?? 'the limits are not valid'
  throw new CliFailure(issue?.path[0] === 'aliases' ? `--models: ${says}` : says)
}

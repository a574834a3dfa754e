import { Command, Option } from 'commander'
import { z } from 'zod'
import type { MetricName } from '../training/evaluation/metrics.ts'
import { parsedBy } from './command/argument.ts'
import { parseOptions } from './command/parse-options.ts'
import { prefillWeightsOption } from './command/settings.ts'
import { EvalOptions } from './evaluation/options.ts'

const count = z
  .string()
  .regex(/^[1-9][0-9]{0,6}$/, 'must be a whole number from 1')
  .transform(Number)
const seed = z
  .string()
  .regex(/^[0-9]{1,9}$/, 'must be a whole number from 0')
  .transform(Number)

/** Metrics as the command line spells them. */
const metrics: Readonly<Record<string, MetricName>> = {
  loss: 'loss',
  perplexity: 'perplexity',
  'exact-match': 'exactMatch',
  'label-accuracy': 'labelAccuracy',
  bleu: 'bleu',
  'rouge-l': 'rougeL',
}
const Metrics = z.string().transform((text, context): readonly MetricName[] => {
  const names = text.split(',').map((name) => name.trim())
  const known = names.flatMap((name) => (Object.hasOwn(metrics, name) ? (metrics[name] ?? []) : []))
  if (known.length === names.length) return [...new Set(known)]
  context.addIssue({ code: 'custom', message: `must be some of ${Object.keys(metrics).join(',')}` })
  return z.NEVER
})

const more = `
The untuned backbone is measured beside the adapters, on the same prompts. Every figure comes with its 95 % interval.
Responses to the same prompt are several references of one answer.

Examples:
  quartet adapter eval tickets.safetensors --data held-out.jsonl
  quartet adapter eval tickets.safetensors --data held-out.jsonl --choices billing,shipping,returns --json scores.json
  quartet adapter eval tickets.safetensors --data held-out.jsonl --choices labels.txt --metrics label-accuracy --limit 200
  quartet adapter eval before.safetensors after.safetensors --data held-out.jsonl --choices labels.txt`

/** `quartet adapter eval`: adapters and the untuned backbone side by side on held-out examples. */
export function evalCommand(): Command {
  return new Command('eval')
    .description('score adapters and the untuned backbone side by side on held-out examples')
    .argument('<files...>', 'the adapters, all of one backbone')
    .requiredOption('--data <file>', 'held-out examples, as JSONL like those to train on')
    .option('--choices <labels>', 'score labels too: a,b,c or a file with one per line')
    .addOption(
      new Option('--prompts <choice>', 'what "prompt" is: a user’s message, or text for /v1/completions')
        .choices(['chat', 'raw'])
        .default('chat'),
    )
    .addOption(
      new Option(
        '--max-tokens <n>',
        'longest answer (default: 16 more than the longest response in the data)',
      ).argParser(parsedBy<number>(count)),
    )
    .addOption(new Option('--seed <n>', 'of the bootstrap').default(0).argParser(parsedBy<number>(seed)))
    .addOption(
      new Option('--threads <n>', 'threads that compute, as at the node (default: one per core)').argParser(
        parsedBy<number>(count),
      ),
    )
    .addOption(prefillWeightsOption())
    .addOption(
      new Option(
        '--metrics <names>',
        `measure these alone: ${Object.keys(metrics).join(',')} (default: all; label-accuracy needs --choices)`,
      ).argParser(parsedBy<readonly MetricName[]>(Metrics)),
    )
    .addOption(
      new Option('--limit <n>', 'measure the first n examples alone').argParser(parsedBy<number>(count)),
    )
    .option('--json <file>', 'write the figures as JSON, with those per label and the confusion matrix')
    .option('--labels <file>', 'with --choices: write which label every model chose, as JSONL')
    .option('--answers <file>', 'write what every model answered, as JSONL')
    .addHelpText('after', more)
    .action(async (files: string[], _options, self: Command) => {
      const { runEvaluation } = await import('./evaluation/run.ts')
      await runEvaluation(files, parseOptions(EvalOptions, self))
    })
}

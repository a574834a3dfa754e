import { Command } from 'commander'
import { CliFailure } from './command/failure.ts'
import { addTrainOptions, TrainOptions } from './training/options.ts'

const more = `
Each line of a data file is {"messages": [{"role": "user", "content": "…"}, …, {"role": "assistant", "content": "…"}]}
or {"prompt": "…", "completion": "…"}. Each answer is learned, all before it is read.

Examples:
  quartet adapter train --data tickets.jsonl --dry-run
  quartet adapter train --data tickets.jsonl --out tickets.safetensors
  quartet adapter train --data tickets.jsonl --dev held-out.jsonl --out tickets.safetensors --epochs 3 --seed 1
  quartet adapter train --data tickets.jsonl --out tickets.safetensors --resume

Ctrl-C writes a checkpoint. docs/training.md says what each option does and what to try when training fails.`

/** `quartet adapter train`: from examples to an adapter. */
export function trainCommand(): Command {
  return addTrainOptions(new Command('train'))
    .description('train an adapter on examples')
    .addHelpText('after', more)
    .action(async (_options, self: Command) => {
      const parsed = TrainOptions.safeParse(self.opts())
      if (!parsed.success)
        throw new CliFailure(parsed.error.issues[0]?.message ?? 'the options do not fit together')
      const { runTraining } = await import('./training/run.ts')
      await runTraining(parsed.data)
    })
}

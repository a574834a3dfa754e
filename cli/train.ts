import { Command } from 'commander'
import { addEdgeOption } from './access/admin-access.ts'
import { parseOptions } from './command/parse-options.ts'
import { addTrainOptions, TrainCommandOptions } from './training/options.ts'
import { addRemoteOptions, refuseRemoteOptions, trainRemotely } from './training/remote.ts'

const more = `
Each line of a data file is {"messages": [{"role": "user", "content": "…"}, …, {"role": "assistant", "content": "…"}]}
or {"prompt": "…", "completion": "…"}, also with lists of messages. Each answer is learned, all before it is read.

Examples:
  quartet adapter train --data tickets.jsonl --dry-run
  quartet adapter train --data tickets.jsonl --out tickets.safetensors
  quartet adapter train --data tickets.jsonl --dev held-out.jsonl --out tickets.safetensors --epochs 3 --seed 1
  quartet adapter train --data tickets.jsonl --out tickets.safetensors --resume
  quartet adapter export tickets.checkpoint --out tickets.safetensors
  QUARTET_API_KEY=qk_… quartet adapter train --remote --data tickets.jsonl --dev held-out.jsonl --suffix tickets

Ctrl-C writes a checkpoint, which --resume goes on from and export makes an adapter of. docs/training.md says what each option does and what to try when training fails.`

/** `quartet adapter train`: from examples to an adapter. */
export function trainCommand(): Command {
  return addEdgeOption(addRemoteOptions(addTrainOptions(new Command('train'))))
    .description('train an adapter on examples')
    .addHelpText('after', more)
    .action(async (_options, self: Command) => {
      if (self.opts().remote === true) return trainRemotely(self)
      refuseRemoteOptions(self)
      const options = parseOptions(TrainCommandOptions, self)
      const { runTraining } = await import('./training/run.ts')
      await runTraining(options)
    })
}

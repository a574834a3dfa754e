import { Command } from 'commander'
import { parseOptions } from './command/parse-options.ts'
import { addPortOptions, TrainCommandOptions } from './training/options.ts'

const more = `
An adapter is for the very weights that it was trained on. The same model from another source (the hub, a GGUF file) or in
another form (--weights) has other weights: near enough for the adapter to be a good start, too far to serve it as it is.
The kind and the shape are those of FILE.

Example:
  quartet adapter port tickets.safetensors --to smollm2-135m-instruct --weights q4 \\
    --data tickets.jsonl --steps 40 --out tickets-q4.safetensors`

/** `quartet adapter port`: trains an adapter on for other weights of its model. */
export function portCommand(): Command {
  return addPortOptions(new Command('port'))
    .description('train an adapter on for other weights of its model, from another source or in another form')
    .argument('<file>', 'the adapter')
    .requiredOption('--to <slug>', 'the backbone that will serve it')
    .addHelpText('after', more)
    .action(async (file: string, _options, self: Command) => {
      const { to, ...options } = self.opts()
      const given = { ...options, backbone: to, init: file, port: true }
      const parsed = parseOptions(TrainCommandOptions, self, given)
      const { runTraining } = await import('./training/run.ts')
      await runTraining(parsed)
    })
}

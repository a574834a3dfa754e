import { Command } from 'commander'
import { describeSettings } from '../gpu-node/config.ts'

/** `quartet node start`: the node reads its own flags and environment (`gpu-node/config.ts`). */
export function nodeCommand(): Command {
  const node = new Command('node').description('a node: one backbone, many adapters')

  node
    .command('start')
    .description('run a node in the foreground until SIGTERM or Ctrl-C')
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[settings...]')
    .addHelpText('after', () => `\n${describeSettings()}`)
    .action(async (settings: string[]) => {
      const { runNode } = await import('../gpu-node/run.ts')
      await runNode(settings)
    })

  return node
}

import { hostname } from 'node:os'
import { Command, Option } from 'commander'
import { WeightFormat } from '../shared/backbone.ts'
import { TrainerId } from '../shared/training/trainer-protocol.ts'
import { parsedBy } from './command/argument.ts'
import { CliFailure } from './command/failure.ts'
import { note } from './command/output.ts'
import { homeOf } from './command/settings.ts'
import { homeAt } from './local/home.ts'
import { joinLocalEdge } from './local/join-local-edge.ts'

interface TrainerOptions {
  readonly id: string
  readonly edge?: string
  readonly backbone?: string
  readonly weights?: WeightFormat
  readonly threads?: string
}

/** `quartet trainer start`: trains the tenants' fine-tuning jobs for one backbone. */
export function trainerCommand(): Command {
  const trainer = new Command('trainer').description('trains the fine-tuning jobs of tenants')
  trainer
    .command('start')
    .description(
      'run a trainer in the foreground until SIGTERM or Ctrl-C; in a local home it joins that edge',
    )
    .addOption(
      new Option('--id <name>', 'names it among the trainers')
        .default(`${hostname()}-${process.pid}`)
        .argParser(parsedBy(TrainerId)),
    )
    .option('--edge <url>', 'the edge to ask for work (QUARTET_EDGE_URL); the local one by default')
    .option('--backbone <name>', 'the backbone to train for: a slug or a folder (QUARTET_BACKBONE)')
    .addOption(
      new Option(
        '--weights <format>',
        'which form of a slug: the one that nodes serve (QUARTET_WEIGHTS); q8 by default',
      ).choices(WeightFormat.options),
    )
    .option('--threads <n>', 'threads that compute (QUARTET_TRAINER_THREADS); as many as cores by default')
    .action(async (options: TrainerOptions, command: Command) => {
      const home = homeAt(homeOf(command))
      const { QUARTET_BACKBONE, QUARTET_EDGE_URL, QUARTET_NODE_SECRET: secret } = process.env
      const edge = options.edge ?? QUARTET_EDGE_URL
      const local = await joinLocalEdge(home, { edge, secret })
      if (local !== undefined)
        note(`joining the local edge ${local.edge}, with the secret in ${home.secrets}`)
      const { TrainerSettings, trainerProcess } = await import('./trainer/trainer-process.ts')
      const settings = TrainerSettings.safeParse({
        ...process.env,
        QUARTET_TRAINER_ID: options.id,
        QUARTET_BACKBONE: options.backbone ?? QUARTET_BACKBONE,
        QUARTET_EDGE_URL: local?.edge ?? edge,
        QUARTET_NODE_SECRET: local?.secret ?? secret,
        ...(options.weights === undefined ? {} : { QUARTET_WEIGHTS: options.weights }),
        ...(options.threads === undefined ? {} : { QUARTET_TRAINER_THREADS: options.threads }),
      })
      if (!settings.success)
        throw new CliFailure(settings.error.issues.map(({ message }) => message).join('; '))
      await trainerProcess(settings.data)
    })
  return trainer
}

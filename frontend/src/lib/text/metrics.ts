// What is known of each metric by name. A metric that is not here is shown all the same, under its own name.
import { count, fraction, number, percent } from './format';

export interface MetricWords {
  label: string;
  /** One line. */
  means: string;
  better?: 'low' | 'high';
  format: (value: number) => string;
}

const dictionary: Record<string, MetricWords> = {
  fvu: { label: 'Variance unexplained (FVU)', means: 'Of the activation’s variance, the share that the reconstruction misses.', better: 'low', format: fraction },
  cosine: { label: 'Cosine similarity', means: 'Between an activation and its reconstruction.', better: 'high', format: fraction },
  l0: { label: 'Features per token (L0)', means: 'How many features fire on a token, on average.', format: number },
  ce_increase: { label: 'Loss added (cross-entropy)', means: 'Nats by which the model predicts the next token worse when it runs on the reconstruction.', better: 'low', format: fraction },
  kl: { label: 'KL divergence', means: 'Nats between the model’s predictions with and without the reconstruction.', better: 'low', format: fraction },
  loss_recovered_zero: { label: 'Loss recovered, against zero', means: 'Of the loss that setting the site to zero costs, the share that the reconstruction saves. An easy test.', better: 'high', format: fraction },
  loss_recovered_mean: { label: 'Loss recovered, against the mean', means: 'The same, against putting the mean activation everywhere. The harder test.', better: 'high', format: fraction },
  ce: { label: 'Loss of the model itself', means: 'Nats per token on this text, with nothing changed.', format: number },
  dead_fraction: { label: 'Dead features', means: 'Share of features that never fire on the text they were counted on.', better: 'low', format: percent },
  dense_fraction: { label: 'Dense features', means: 'Share of features that fire on more than a tenth of all tokens.', better: 'low', format: percent },
};

const feature: Record<string, MetricWords> = {
  id: { label: 'Index', means: 'The index in the dictionary.', format: String },
  relevance: { label: 'Best match', means: 'How well the words that were searched for fit.', format: number },
  density: { label: 'Activation density', means: 'Share of tokens on which it fires.', format: percent },
  n_fired: { label: 'Activations', means: 'Number of tokens on which it fires.', format: count },
  max_code: { label: 'Max activation', means: 'Its largest activation.', format: number },
  mean_code: { label: 'Mean activation', means: 'Over the tokens on which it fires.', format: number },
  token_entropy: { label: 'Token entropy', means: 'Bits. 0 fires on one token only, large on anything.', format: number },
  logit_kurtosis: { label: 'Logit kurtosis', means: 'Large promotes few, definite tokens.', format: number },
  nearest_cosine: { label: 'Nearest cosine', means: 'Cosine to the most similar other direction.', format: fraction },
  rule_f1: { label: 'Rule F1', means: 'How well its rule tells where it fires, on held-out text.', format: fraction },
  rule_size: { label: 'Rule leaves', means: 'How much there is to read in its rule.', format: count },
  region: { label: 'Region', means: 'Of the map.', format: String },
};

const unknown = (name: string): MetricWords => ({
  label: name.replaceAll('_', ' ').replace(/^./, (c) => c.toUpperCase()),
  means: '',
  format: number,
});

/** Of a whole dictionary. */
export const ofDictionary = (name: string): MetricWords => dictionary[name] ?? unknown(name);

/** A label inside a line. */
export const inLine = (label: string): string => label.charAt(0).toLowerCase() + label.slice(1);

/** Of one feature. */
export const ofFeature = (name: string): MetricWords => feature[name] ?? unknown(name);

/** Known metrics in the order they are told, then the others. */
export function ordered(names: string[]): string[] {
  const known = Object.keys(dictionary);
  return [...known.filter((n) => names.includes(n)), ...names.filter((n) => !known.includes(n)).sort()];
}

import Experiment from '../views/Experiment.svelte';
import Sheet from '../views/Sheet.svelte';
import Verdict from '../views/Verdict.svelte';
import { afm } from './afm.svelte';

export default afm({ experiment: Experiment, panels: Sheet, check: Verdict });

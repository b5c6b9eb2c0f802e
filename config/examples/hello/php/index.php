<?php
// A page that says hello; serve.sh says on which port.
declare(strict_types=1);

header('Content-Type: text/plain');
echo "Hello from PHP\n";

"""Open a raster in QGIS, draw it with its style, and print what QGIS finds, as JSON.

Run by the Python of QGIS: ``python3 qgis_render.py t2m.tif t2m.png``. It needs the packages
``qgis`` and ``python3-qgis`` of Debian, and no screen (QT_QPA_PLATFORM=offscreen).
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsLayout,
    QgsLayoutExporter,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsProject,
    QgsRasterBandStats,
    QgsRasterLayer,
)


def described(layer):
    """Return what QGIS finds in a layer."""
    provider, renderer = layer.dataProvider(), layer.renderer()
    shader = renderer.shader().rasterShaderFunction()
    wanted = QgsRasterBandStats.Min | QgsRasterBandStats.Max
    statistics = provider.bandStatistics(1, wanted)
    middle = layer.extent().center()
    return {
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "bands": [provider.generateBandName(i + 1) for i in range(provider.bandCount())],
        "pixel": [layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()],
        "renderer": renderer.type(),
        "range": [statistics.minimumValue, statistics.maximumValue],
        "value at the centre": provider.sample(middle, 1)[0],
        "items": [
            [item.value, item.color.name(), item.label] for item in shader.colorRampItemList()
        ],
    }


def draw(layer, picture):
    """Draw a layer with its legend."""
    project = QgsProject.instance()
    project.addMapLayer(layer)
    layout = QgsLayout(project)
    layout.initializeDefaults()
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(240, 160))
    view, legend = QgsLayoutItemMap(layout), QgsLayoutItemLegend(layout)
    for item in (view, legend):
        layout.addLayoutItem(item)
    view.attemptMove(QgsLayoutPoint(5, 5))
    view.setLayers([layer])
    view.attemptResize(QgsLayoutSize(160, 150))
    view.setExtent(layer.extent())  # which changes its height
    view.attemptResize(QgsLayoutSize(160, 150))
    view.zoomToExtent(layer.extent())
    legend.attemptMove(QgsLayoutPoint(168, 5))
    legend.adjustBoxSize()
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 100
    assert QgsLayoutExporter(layout).exportToImage(picture, settings) == QgsLayoutExporter.Success


def main():
    raster, picture = sys.argv[1:]
    application = QgsApplication([], True)
    application.initQgis()
    layer = QgsRasterLayer(raster, Path(raster).stem)  # takes the style of the same name
    found = described(layer)
    style, loaded = layer.loadNamedStyle(raster.replace(".tif", ".qml"))
    print(json.dumps(found | {"style": [style, loaded]}, indent=1))
    draw(layer, picture)


main()
